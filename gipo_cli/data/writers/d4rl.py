"""Write D4RL's HDF5 layout, with what it lacks: final observations, pre-squash actions, exact origins."""

from pathlib import Path

import h5py
import numpy as np

from gipo_cli.data.hdf5_writing import Hdf5Writer, describe, new_hdf5
from gipo_cli.data.trajectories import BehaviourWeights, Trajectories
from gipo_cli.data.writers import Origin, columns_of, listed, new_place, refuse_existing

__all__ = ["refuse_existing", "write"]

IN_MEMORY = 2**28  # bytes of columns; a file that is made in memory first takes as much at most, and once more
KEYS = {
    "observations": "observations", "actions": "actions", "rewards": "rewards", "terminated": "terminals",
    "truncated": "timeouts", "behaviour_log_probs": "infos/action_log_probs",
    "pre_squash_actions": "infos/pre_squash_actions", "executed_actions": "infos/executed_actions",
    "policy_versions": "infos/policy_versions",
}  # fmt: skip


def write(log: Trajectories, path: Path, origin: Origin | None = None) -> None:
    """Write a log to a new file; the same log and origin give the same bytes.

    next_observations are not written: the row after a step, or metadata/final_observations [E, O] for the last step
    of an episode, is the same in half the space. A log whose log-probs are recorded does not say so, as D4RL's do not.

    Args:
        log: what to write.
        path: must not exist.
        origin: attributes of the file: seeds, versions, the command.

    Raises:
        SettingError: the path exists or cannot be written.
    """
    small = sum(column.nbytes for column in columns_of(log).values()) <= IN_MEMORY
    with new_place(path) as aside, new_hdf5(aside, in_memory=small) as writer:
        _fill(writer, log)
        named = {"env_id": log.environment} if log.environment else {}
        for name, value in {**(origin or {}), **named}.items():
            describe(writer.file, name, value)
        if log.log_probs_origin not in ("recorded", "none"):
            describe(writer.file, "log_probs_origin", log.log_probs_origin)
        if log.repairs:
            describe(writer.file, "repairs", ",".join(log.repairs))


def _fill(writer: Hdf5Writer, log: Trajectories) -> None:
    columns, space, file = columns_of(log), log.action_space, writer.file
    found = {key: columns[name] for name, key in KEYS.items() if name in columns}
    found["metadata/final_observations"] = log.final_observations
    found |= {"metadata/action_low": space.low} if space.low is not None else {}
    found |= {"metadata/action_high": space.high} if space.high is not None else {}
    for key, column in found.items():
        writer.store(file, key, column, packed=True)
    if space.n is not None:
        file.attrs["action_choices"] = space.n
    if space.nvec is not None:
        describe(file, "action_choices", listed(space.nvec))
    describe(file, "output_distribution", log.convention)
    if log.behaviour_weights is not None:
        _fill_policy(file.create_group("metadata/policy", track_order=True), log.behaviour_weights)


def _fill_policy(group: h5py.Group, weights: BehaviourWeights) -> None:
    for name, array in sorted(weights.arrays.items()):
        group.create_dataset(name, data=array, track_times=False)
    group.create_dataset("nonlinearity", data=np.bytes_(weights.nonlinearity), track_times=False)
    group.create_dataset("output_distribution", data=np.bytes_(weights.output_distribution), track_times=False)
    group.attrs["observation_epsilon"] = weights.observation_epsilon
    if weights.observation_clip is not None:
        group.attrs["observation_clip"] = weights.observation_clip
    if weights.log_std_bounds is None:
        describe(group, "log_std_bounds", "none")  # D4RL's own files say nothing, and mean rlkit's
    else:
        group.attrs["log_std_low"], group.attrs["log_std_high"] = weights.log_std_bounds
    if weights.choices:
        describe(group, "choices", listed(weights.choices))
