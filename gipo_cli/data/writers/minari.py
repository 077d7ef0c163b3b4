"""Write a Minari dataset, with Minari's own storage: a directory that `minari.load_dataset` opens."""

import os
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete, MultiDiscrete, Space
from minari.dataset.minari_storage import MinariStorage
from safetensors.numpy import save

from gipo_cli.data.hdf5_writing import Hdf5Writer, new_hdf5
from gipo_cli.data.trajectories import BehaviourWeights, Trajectories
from gipo_cli.data.writers import Origin, columns_of, listed, native, new_place

IDENTIFIER = re.compile(r"([-_\w][-_\w/]*[-_\w]+/)?[-_\w]+?-v\d+")  # Minari's
MAIN_FILE = "main_data.hdf5"
KEYS = {
    "actions": "actions", "rewards": "rewards", "terminated": "terminations", "truncated": "truncations",
    "behaviour_log_probs": "infos/log_prob", "pre_squash_actions": "infos/pre_squash_actions",
    "executed_actions": "infos/executed_actions", "policy_versions": "infos/policy_versions",
}  # fmt: skip
POLICY_FILE = "behaviour_policy.safetensors"


def write(log: Trajectories, path: Path, origin: Origin | None = None) -> None:
    """Write a log to a new directory as Minari's HDF5, an episode at a time; see `data.writers` for the contract.

    infos/log_prob holds step t's log-prob in row t, one row a step, as do the other infos. Minari's `DataCollector`
    would put it into row t + 1. The weights of the behaviour policy stand beside the data as a policy file that
    `gipo --behaviour` takes. The environment is named by Gymnasium's own specification, where Gymnasium has one:
    Minari imports what a specification names, so no other is written.

    Raises:
        SettingError: the path exists or cannot be written.
    """
    with new_place(path) as aside:
        data = aside.absolute() / "data"  # Minari looks for files of a relative place below itself
        data.mkdir(parents=True)
        observed, acted = _spaces(log)
        # Images stay as they are: JPEG, Minari's default, would change them.
        storage = MinariStorage.new(
            data, observed, acted, gymnasium.registry.get(log.environment or ""), "hdf5", jpeg_encoding=False
        )
        (data / MAIN_FILE).unlink()  # empty as yet
        with new_hdf5(data / MAIN_FILE, in_memory=False) as writer:
            for k in range(log.episodes):
                _store_episode(writer, log, k)
        if log.behaviour_weights is not None:
            (data / POLICY_FILE).write_bytes(_policy(log.behaviour_weights))
        storage.update_metadata(_metadata(log, path, origin) | {"dataset_size": storage.get_size()})


def _store_episode(writer: Hdf5Writer, log: Trajectories, k: int) -> None:
    """One group, as Minari's own `HDF5Storage.update_episodes` lays it out, which dies where the disk is full."""
    rows = slice(int(log.episode_starts[k]), int(log.episode_starts[k + 1]))
    group = writer.file.create_group(f"episode_{k}")
    group.attrs["id"], group.attrs["total_steps"] = k, rows.stop - rows.start
    observations = np.concatenate([log.observations[rows], log.final_observations[k][None]])
    writer.store(group, "observations", observations, packed=False)
    for name, column in columns_of(log).items():
        if name in KEYS:
            writer.store(group, KEYS[name], column[rows], packed=False)


def _spaces(log: Trajectories) -> tuple[Space[Any], Space[Any]]:
    space, observed = log.action_space, log.observations
    seen = _box(observed.shape[1:], np.result_type(observed, log.final_observations), None, None)
    if space.n is not None:
        return seen, Discrete(space.n)
    if space.nvec is not None:
        return seen, MultiDiscrete(list(space.nvec))
    return seen, _box(space.shape, log.actions.dtype, space.low, space.high)


def _box(shape: tuple[int, ...], kind: np.dtype, low: np.ndarray | None, high: np.ndarray | None) -> Box:
    """A box with the bounds that are known; as wide as its type is where they are not."""
    if kind.kind == "b":
        least, most = 0, 1
    elif kind.kind == "f":
        least, most = -np.inf, np.inf
    else:
        least, most = np.iinfo(kind).min, np.iinfo(kind).max
    bounds = [np.full(shape, wide) if bound is None else bound for bound, wide in ((low, least), (high, most))]
    # Bounds keep their own precision: rounded to half precision they would be other bounds.
    kind = np.result_type(kind, *(bound for bound in (low, high) if bound is not None))
    return Box(bounds[0].astype(kind), bounds[1].astype(kind), shape, kind.type)


def _policy(weights: BehaviourWeights) -> bytes:
    """A policy file as `policies.weights.load_policy` reads it."""
    described = {
        "nonlinearity": weights.nonlinearity,
        "output_distribution": weights.output_distribution,
        "observation_epsilon": repr(float(weights.observation_epsilon)),
    }
    if weights.observation_clip is not None:
        described["observation_clip"] = repr(float(weights.observation_clip))
    if weights.log_std_bounds is not None:
        described["log_std_clip"] = ",".join(repr(float(bound)) for bound in weights.log_std_bounds)
    if weights.choices:
        described["choices"] = listed(weights.choices)
    return save({name: native(array) for name, array in sorted(weights.arrays.items())}, described)


def _metadata(log: Trajectories, path: Path, origin: Origin | None) -> dict[str, Any]:
    space = log.action_space
    known = {side: getattr(space, side) is not None for side in ("low", "high")}
    return {
        "dataset_id": _identifier(path),
        "minari_version": version("minari"),
        "algorithm_name": str((origin or {}).get("algorithm", "")),
        "description": f"{log.name}: {log.transitions} steps with behaviour log-probs in infos/log_prob",
        "total_episodes": log.episodes,
        "total_steps": log.transitions,
        "gipo_convention": log.convention,
        "gipo_log_probs_origin": log.log_probs_origin,
        "gipo_environment": log.environment,
        "gipo_repairs": list(log.repairs),
        "gipo_origin": dict(origin or {}),
        # A Box has bounds even where the log has none.
        "gipo_action_bounds": [side for side, is_known in known.items() if is_known],
    }


def datasets_root() -> Path:
    """Where Minari keeps the datasets of this machine."""
    return Path(os.environ.get("MINARI_DATASETS_PATH") or Path.home() / ".minari" / "datasets")


def _identifier(path: Path) -> str:
    """Minari's name of the dataset: its place below Minari's root, else the directory's name made to fit."""
    root, here = datasets_root().absolute(), path.absolute()
    name = here.relative_to(root).as_posix() if here.is_relative_to(root) else here.name
    if IDENTIFIER.fullmatch(name):
        return name
    return (re.sub(r"[^-\w]+", "-", here.name).strip("-") or "log") + "-v0"
