"""Write D4RL's HDF5 layout, with what it lacks: final observations, pre-squash actions, exact origins."""

import os
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np

from gipo_cli.data.trajectories import Trajectories
from gipo_cli.errors import SettingError


def write(log: Trajectories, path: Path, origin: Mapping[str, str | int] | None = None) -> None:
    """Write a log to a new file; the same log and origin give the same bytes.

    next_observations are not written: the row after a step, or metadata/final_observations [E, O] for the last step
    of an episode, is the same in half the space.

    Args:
        log: what to write.
        path: must not exist.
        origin: attributes of the file: seeds, versions, the command.

    Raises:
        SettingError: the path exists or cannot be written.
    """
    refuse_existing(path)
    aside = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        with h5py.File(aside, "w", track_order=True) as file:
            _fill(file, log)
            for name, value in {**(origin or {}), "env_id": log.environment or ""}.items():
                file.attrs[name] = value
        with aside.open("rb+") as written:
            os.fsync(written.fileno())
        # link, not rename: it refuses a file that appeared while this one was being written.
        os.link(aside, path)
    except FileExistsError as error:
        raise SettingError(f"{path} exists; a log is never overwritten.", "Choose another --out.") from error
    except OSError as error:
        raise SettingError(f"{path} cannot be written ({error.strerror or error}).") from error
    finally:
        aside.unlink(missing_ok=True)


def refuse_existing(path: Path) -> None:
    """Refuse a path that is taken, or whose directory is missing, before any work is done for it."""
    if path.exists():
        raise SettingError(f"{path} exists; a log is never overwritten.", "Choose another --out, or move it away.")
    if not path.parent.is_dir():
        raise SettingError(f"there is no directory {path.parent} to write {path.name} in.", "Make it first.")


def _fill(file: h5py.File, log: Trajectories) -> None:
    def store(key: str, column: np.ndarray) -> None:
        file.create_dataset(key, data=column, compression="gzip", compression_opts=9, shuffle=True, track_times=False)

    store("observations", log.observations)
    store("actions", log.actions)
    store("rewards", log.rewards)
    store("terminals", log.terminated)
    store("timeouts", log.truncated)
    store("infos/action_log_probs", log.behaviour_log_probs)
    if log.pre_squash_actions is not None:
        store("infos/pre_squash_actions", log.pre_squash_actions)
    if log.policy_versions is not None:
        store("infos/policy_versions", log.policy_versions)
    store("metadata/final_observations", log.final_observations)
    if log.action_space.low is not None and log.action_space.high is not None:
        store("metadata/action_low", log.action_space.low)
        store("metadata/action_high", log.action_space.high)
    if log.action_space.n is not None:
        file.attrs["action_choices"] = log.action_space.n
    file.attrs["output_distribution"] = log.convention
    if log.behaviour_weights is not None:
        _fill_policy(file.create_group("metadata/policy", track_order=True), log)


def _fill_policy(group: h5py.Group, log: Trajectories) -> None:
    weights = log.behaviour_weights
    assert weights is not None
    for name, array in sorted(weights.arrays.items()):
        group.create_dataset(name, data=array, track_times=False)
    group.create_dataset("nonlinearity", data=np.bytes_(weights.nonlinearity), track_times=False)
    group.create_dataset("output_distribution", data=np.bytes_(weights.output_distribution), track_times=False)
    group.attrs["observation_epsilon"] = weights.observation_epsilon
    if weights.observation_clip is not None:
        group.attrs["observation_clip"] = weights.observation_clip
    if weights.log_std_bounds is not None:
        group.attrs["log_std_low"], group.attrs["log_std_high"] = weights.log_std_bounds
