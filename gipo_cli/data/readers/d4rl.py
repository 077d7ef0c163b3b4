"""D4RL's HDF5 layout: flat columns of all episodes laid end to end, with the quirks of its releases."""

from pathlib import Path
from typing import Any, cast

import h5py
import numpy as np

from gipo_cli.data.hdf5 import attribute, is_hdf5, member, open_safely, read_column, read_text, type_of
from gipo_cli.data.log_probs import LOG_PROB_NAMES, convention_of, no_log_probs
from gipo_cli.data.readers import Reader
from gipo_cli.data.trajectories import CONVENTIONS, ActionSpace, BehaviourWeights, Convention, Trajectories
from gipo_cli.errors import DataError

D4RL_LOG_STD_BOUNDS = (-20.0, 2.0)  # of rlkit's SAC policy, which made D4RL's own files
FLAG_LIMIT = 0.5  # a flag stored as a float, in some releases as 849.0
VECTORS = ("rewards", "terminals", "timeouts", "log-probs")  # [N]; old releases store some as [N, 1]


def read(place: Path, name: str) -> Trajectories:
    """Read a log in D4RL's layout.

    Episodes end where a row is terminal or timed out, or where the next observation is not the row after. Beyond D4RL:
    `metadata/final_observations` [E, O] and `infos/pre_squash_actions` are used where they are there.

    Raises:
        DataError: the file is damaged or hostile, or lacks a column that GIPO needs.
    """
    with open_safely(place) as file:
        columns = {key: _column(file, key) for key in ("observations", "actions", "rewards", "terminals")}
        log_probs = _log_probs(file, place)
        timeouts, following = _vector(read_column(file, "timeouts")), read_column(file, "next_observations")
        final = read_column(file, "metadata/final_observations")
        pre_squash = read_column(file, "infos/pre_squash_actions")
        versions = read_column(file, "infos/policy_versions")
        weights = _behaviour_weights(file)
        environment = _environment(file)
        declared = weights.output_distribution if weights else attribute(file, "output_distribution")
        choices = attribute(file, "action_choices")
        bounds = (read_column(file, "metadata/action_low"), read_column(file, "metadata/action_high"))

    steps = _same_length(place, {**columns, "timeouts": timeouts, "next_observations": following,
                                 "log-probs": log_probs, "infos/pre_squash_actions": pre_squash,
                                 "infos/policy_versions": versions})  # fmt: skip
    _require_shapes(place, columns, following, pre_squash, bounds)
    notes: list[str] = []
    terminated = _flags(columns["terminals"])
    truncated = (_flags(timeouts) if timeouts is not None else np.zeros(steps, bool)) & ~terminated
    observations = columns["observations"]
    if following is not None:
        jumps = np.zeros(steps, bool)
        # A number that is not finite equals nothing, and is no end: the checks name it later.
        differs = (following[:-1] != observations[1:]) & np.isfinite(following[:-1]) & np.isfinite(observations[1:])
        jumps[:-1] = differs.reshape(steps - 1, -1).any(-1)
        unmarked = jumps & ~terminated & ~truncated
        if unmarked.any():
            notes.append(f"{unmarked.sum()} episode ends were not marked; found where the next observation jumps.")
        truncated |= unmarked
    if not terminated[-1] and not truncated[-1]:
        truncated[-1] = True
        notes.append("the last episode is unfinished; it counts as cut by a limit.")
    ends = np.flatnonzero(terminated | truncated)
    starts = np.concatenate([[0], ends + 1])
    convention, actions = convention_of(place, columns["actions"], declared, notes)
    log = {
        "observations": observations, "actions": actions, "rewards": columns["rewards"],
        "behaviour_log_probs": log_probs, "terminated": terminated, "truncated": truncated,
        "pre_squash_actions": pre_squash, "policy_versions": versions,
    }  # fmt: skip
    expected = (len(ends), *observations.shape[1:])
    if final is not None and final.shape != expected:
        notes.append(
            f"metadata/final_observations has shape {list(final.shape)}, the log asks for {list(expected)}; not used."
        )
        final = None
    if final is not None:
        final_observations = final
    elif following is not None:
        final_observations = following[ends]
    else:
        log, starts, final_observations = _give_up_last_steps(log, starts, notes, place)
    return Trajectories(
        name=name,
        source=str(place),
        final_observations=final_observations,
        episode_starts=starts.astype(np.int64),
        action_space=_action_space(actions, convention, choices, bounds),
        convention=convention,
        environment=environment,
        behaviour_weights=weights,
        notes=tuple(notes),
        **log,
    )


def _column(file: h5py.File, key: str) -> np.ndarray:
    column = read_column(file, key)
    if column is None:
        raise DataError(
            f"{file.filename} has no column '{key}'.", f"It holds: {', '.join(sorted(map(str, file))) or 'nothing'}."
        )
    return cast(np.ndarray, _vector(column)) if key in VECTORS else column


def _vector(column: np.ndarray | None) -> np.ndarray | None:
    return column[:, 0] if column is not None and column.ndim == 2 and column.shape[1] == 1 else column


def _flags(column: np.ndarray) -> np.ndarray:
    return column if column.dtype == bool else column > FLAG_LIMIT


def _log_probs(file: h5py.File, place: Path) -> np.ndarray:
    for key in (f"{group}{name}" for group in ("infos/", "") for name in LOG_PROB_NAMES):
        column = read_column(file, key)
        if column is not None:
            return cast(np.ndarray, _vector(column))
    infos = member(file, "infos")
    stored = sorted(map(str, infos)) if isinstance(infos, h5py.Group) else []
    instead = f"Its infos hold: {', '.join(stored)}." if stored else ""
    raise no_log_probs(place, "infos/action_log_probs [N]", instead)


def _same_length(place: Path, columns: dict[str, np.ndarray | None]) -> int:
    for name, column in columns.items():
        if column is None:
            continue
        # Log-probs of two axes are one a dimension; the checks say how to add them up.
        if column.ndim == 0 or (name in VECTORS and name != "log-probs" and column.ndim > 1):
            raise DataError(f"{place}: '{name}' has shape {list(column.shape)}; expected one row a step.")
        if name in ("terminals", "timeouts") and column.dtype.kind == "f" and not np.isfinite(column).all():
            raise DataError(f"{place}: '{name}' holds a number that is not finite; expected 0 or 1.")
    lengths = {name: len(column) for name, column in columns.items() if column is not None}
    steps = lengths.get("observations", 0)
    for name, length in lengths.items():
        if length != steps:
            raise DataError(f"{place}: '{name}' has {length} rows, 'observations' {steps}; expected as many.")
    if steps == 0:
        raise DataError(f"{place} holds no steps.")
    return steps


def _require_shapes(
    place: Path,
    columns: dict[str, np.ndarray],
    following: np.ndarray | None,
    pre_squash: np.ndarray | None,
    bounds: tuple[np.ndarray | None, ...],
) -> None:
    observations, actions = columns["observations"], columns["actions"]
    actions = actions[:, None] if actions.ndim == 1 else actions
    expected = (
        ("next_observations", following, observations.shape),
        ("infos/pre_squash_actions", pre_squash, actions.shape),
        ("metadata/action_low", bounds[0], actions.shape[1:]),
        ("metadata/action_high", bounds[1], actions.shape[1:]),
    )
    for name, column, shape in expected:
        if column is not None and column.shape != shape:
            raise DataError(f"{place}: '{name}' has shape {list(column.shape)}; expected {list(shape)}.")


def _environment(file: h5py.File) -> str | None:
    for name in ("env_id", "environment", "env"):
        value = attribute(file, name)
        if isinstance(value, str):
            return value
    return None


def _behaviour_weights(file: h5py.File) -> BehaviourWeights | None:
    """The policy under metadata/policy; none where there is none, or one without its standard deviations."""
    group = member(file, "metadata/policy")
    if not isinstance(group, h5py.Group):
        return None
    arrays: dict[str, np.ndarray] = {}
    for name in map(str, group):
        found = member(group, name)
        keys = [f"{name}/{part}" for part in found] if isinstance(found, h5py.Group) else [name]
        for key in map(str, keys):
            leaf = member(group, key)
            dtype = type_of(leaf) if isinstance(leaf, h5py.Dataset) else None
            if dtype is not None and dtype.kind == "f":
                arrays[key] = cast(np.ndarray, read_column(group, key))
    distribution, nonlinearity = read_text(group, "output_distribution"), read_text(group, "nonlinearity")
    has_std = "last_fc_log_std/weight" in arrays or "log_std" in arrays or distribution == "categorical"
    if distribution not in CONVENTIONS or nonlinearity not in ("relu", "tanh") or not has_std:
        return None
    # Adroit's "cloned" files store weights transposed, [in, out]: they are not the policy as it stands.
    if "fc0/weight" in arrays and arrays["fc0/weight"].shape[:1] != arrays.get("fc0/bias", np.empty(0)).shape:
        return None
    low, high = attribute(group, "log_std_low"), attribute(group, "log_std_high")
    clip, epsilon = attribute(group, "observation_clip"), attribute(group, "observation_epsilon")
    return BehaviourWeights(
        arrays=arrays,
        nonlinearity=cast(Any, nonlinearity),
        output_distribution=cast(Convention, distribution),
        observation_clip=clip if isinstance(clip, float) else None,
        observation_epsilon=epsilon if isinstance(epsilon, float) else 1e-8,
        log_std_bounds=(low, high) if isinstance(low, float) and isinstance(high, float) else D4RL_LOG_STD_BOUNDS,
    )


def _action_space(
    actions: np.ndarray, convention: str, choices: str | float | None, bounds: tuple[np.ndarray | None, ...]
) -> ActionSpace:
    if convention == "categorical":
        seen = int(actions.max(initial=0)) + 1
        return ActionSpace(shape=(), n=int(choices) if isinstance(choices, float) else seen)
    return ActionSpace(shape=actions.shape[1:], low=bounds[0], high=bounds[1])


def _give_up_last_steps(
    log: dict[str, np.ndarray | None], starts: np.ndarray, notes: list[str], place: Path
) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """Without next observations the last step of a cut episode leads nowhere: its observation becomes the final one.

    A terminated episode keeps its last step, since nothing is bootstrapped from what follows it.
    """
    observations, truncated = cast(np.ndarray, log["observations"]), cast(np.ndarray, log["truncated"])
    last = starts[1:] - 1
    kept = np.ones(len(observations), bool)
    kept[last[truncated[last]]] = False
    lengths = np.add.reduceat(kept.astype(np.int64), starts[:-1])
    whole = lengths > 0
    if not whole.any():
        raise DataError(f"{place}: every episode is one cut step long; nothing can be learned from it.")
    # An episode of one cut step goes altogether; the row before it is another episode's.
    cut = last[truncated[last] & whole]
    truncated = truncated.copy()
    truncated[cut - 1] = True
    log = {**log, "truncated": truncated}
    if (~kept).any():
        notes.append(f"no next observations: the last step of {(~kept).sum()} cut episodes was given up.")
    trimmed = {name: None if column is None else column[kept] for name, column in log.items()}
    return trimmed, np.concatenate([[0], np.cumsum(lengths[whole])]), observations[last[whole]]


D4RL = Reader(recognises=is_hdf5, read=read)
