"""Logs of one row a step: find where episodes end and what was observed last, whatever the format.

D4RL, RLlib, LeRobot and plain tables all hold rows of many episodes laid end to end and differ in what they mark. A
reader fills in a `FlatLog` with what its file has; `to_trajectories` does the rest, the same for all.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np

from gipo_cli.data.cache import filled
from gipo_cli.data.log_probs import DISCRETE, convention_of
from gipo_cli.data.resident import blocks, rows_of, trim
from gipo_cli.data.trajectories import BLOCK, ActionSpace, BehaviourWeights, Trajectories, space_of_choices
from gipo_cli.errors import DataError

MOST_TOGETHER = 16 * BLOCK  # rows of a chunk that are still read at once
FLAG_LIMIT = 0.5  # a flag stored as a float, in some releases as 849.0


@dataclass
class FlatLog:
    """What a file of one row a step holds; N rows. None where it has no such column.

    Columns of one number a step may have shape [N] or [N, 1]. `next_observations` may be anything of that shape which
    is read by slices of rows, so that it never has to be in memory.
    """

    place: Path
    name: str
    observations: np.ndarray  # [N, *O]
    actions: np.ndarray  # [N, A], or [N] of one choice
    rewards: np.ndarray  # [N]
    log_probs: np.ndarray | None  # [N], or [N, A]
    terminals: np.ndarray | None = None  # [N] nothing follows
    timeouts: np.ndarray | None = None  # [N] cut by a limit
    done: np.ndarray | None = None  # [N] either of the two
    next_observations: Any = None  # [N, *O]
    episodes: np.ndarray | None = None  # [N] of any kind: where it changes, an episode begins
    final_observations: np.ndarray | None = None  # [E, *O]
    pre_squash_actions: np.ndarray | None = None
    executed_actions: np.ndarray | None = None
    policy_versions: np.ndarray | None = None
    declared_convention: str | None = None
    choices: Sequence[int] | None = None  # of each dimension of a discrete action space; of one choice, one number
    action_low: np.ndarray | None = None  # [A]
    action_high: np.ndarray | None = None
    environment: str | None = None
    behaviour_weights: BehaviourWeights | None = None
    log_probs_origin: str = "recorded"
    repairs: tuple[str, ...] = ()  # that the file says its numbers went through
    notes: list[str] = field(default_factory=list)  # what the reader mended or assumed
    names: dict[str, str] = field(default_factory=dict)  # what the file calls a column, where errors should say so


COLUMNS = (
    "observations", "actions", "rewards", "log_probs", "terminals", "timeouts", "done", "next_observations", "episodes",
    "pre_squash_actions", "executed_actions", "policy_versions",
)  # fmt: skip
VECTORS = ("rewards", "log_probs", "terminals", "timeouts", "done", "episodes", "policy_versions")
FLAGS = ("terminals", "timeouts", "done")
MOST_JUMPS, FEW_ROWS = 0.5, 20  # share of rows within episodes that may lead elsewhere, where there are so many


def to_trajectories(flat: FlatLog) -> Trajectories:
    """Cut a flat log into episodes.

    An episode ends where a row is terminal or timed out, where the next row names another episode, and where the next
    observation is not the row after. Its final observation is the one the file gives, or the next observation of its
    last row; where there is neither, a cut episode gives up its last step, whose observation becomes the final one.

    Raises:
        DataError: columns of different lengths or of shapes that do not fit, or no rows.
    """
    columns = {name: _shaped(flat, name) for name in COLUMNS}
    steps = _same_length(flat, columns)
    _require_shapes(flat, columns)
    terminated, truncated, following = _ends(flat, columns, steps)
    ends = np.flatnonzero(terminated | truncated)
    starts = np.concatenate([[0], ends + 1]).astype(np.int64)
    observations = cast(np.ndarray, columns["observations"])
    convention, actions = convention_of(
        flat.place, cast(np.ndarray, columns["actions"]), flat.declared_convention, flat.notes
    )
    log_probs, origin = columns["log_probs"], flat.log_probs_origin
    if log_probs is None:
        log_probs, origin = np.full(steps, np.nan, np.float32), "none"
    log = {
        "observations": observations, "actions": actions, "rewards": columns["rewards"],
        "behaviour_log_probs": log_probs, "terminated": terminated, "truncated": truncated,
        "pre_squash_actions": columns["pre_squash_actions"], "executed_actions": columns["executed_actions"],
        "policy_versions": columns["policy_versions"],
    }  # fmt: skip
    final = _final_observations(flat, (len(ends), *observations.shape[1:]))
    if final is None and following is None:
        log, starts, final = _give_up_last_steps(log, starts, flat)
    return Trajectories(
        name=flat.name,
        source=str(flat.place),
        final_observations=cast(np.ndarray, following if final is None else final),
        episode_starts=starts,
        action_space=_action_space(flat, actions, convention),
        convention=convention,
        environment=flat.environment,
        behaviour_weights=flat.behaviour_weights,
        log_probs_origin=cast(Any, origin),
        notes=tuple(flat.notes),
        repairs=flat.repairs,
        **cast(Any, log),
    )


def _called(flat: FlatLog, name: str) -> str:
    return flat.names.get(name, name)


def _shaped(flat: FlatLog, name: str) -> Any:
    """A column as it is meant: [N] for one number a step, [N, A] for what belongs to a vector."""
    column = getattr(flat, name)
    if column is None:
        return None
    if name in VECTORS and len(column.shape) == 2 and column.shape[1] == 1:
        return column[:, 0]
    if name in ("pre_squash_actions", "executed_actions") and len(column.shape) == 1:
        return column[:, None]
    return column


def _same_length(flat: FlatLog, columns: dict[str, Any]) -> int:
    for name, column in columns.items():
        if column is None:
            continue
        shape, called = list(column.shape), _called(flat, name)
        # Log-probs of two axes are one a dimension; the checks say how to add them up.
        if len(shape) == 0 or (name in VECTORS and name != "log_probs" and len(shape) > 1):
            raise DataError(f"{flat.place}: '{called}' has shape {shape}; expected one row a step.")
        if name in FLAGS and column.dtype.kind == "f" and not np.isfinite(column).all():
            raise DataError(f"{flat.place}: '{called}' holds a number that is not finite; expected 0 or 1.")
        if name == "episodes" and column.dtype.kind == "f" and not np.isfinite(column).all():
            raise DataError(f"{flat.place}: '{called}' has no number in {int((~np.isfinite(column)).sum())} rows.")
    steps = len(flat.observations)
    for name, column in columns.items():
        if column is not None and column.shape[0] != steps:
            raise DataError(
                f"{flat.place}: '{_called(flat, name)}' has {column.shape[0]} rows, "
                f"'{_called(flat, 'observations')}' {steps}; expected as many."
            )
    if steps == 0:
        raise DataError(f"{flat.place} holds no steps.")
    return steps


def _require_shapes(flat: FlatLog, columns: dict[str, Any]) -> None:
    acted = columns["actions"].shape if columns["actions"].ndim > 1 else (*columns["actions"].shape, 1)
    expected = (
        ("next_observations", columns["next_observations"], columns["observations"].shape),
        ("pre_squash_actions", columns["pre_squash_actions"], acted),
        ("executed_actions", columns["executed_actions"], acted),
        ("action_low", flat.action_low, acted[1:]),
        ("action_high", flat.action_high, acted[1:]),
    )
    for name, column, shape in expected:
        if column is not None and tuple(column.shape) != tuple(shape):
            raise DataError(
                f"{flat.place}: '{_called(flat, name)}' has shape {list(column.shape)}; expected {list(shape)}."
            )


def _ends(flat: FlatLog, columns: dict[str, Any], steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Which rows terminate and which are cut, and the next observation of the last row of each episode."""
    terminated, truncated = _marked(flat, columns, steps)
    if columns["episodes"] is not None:
        changes = np.append(columns["episodes"][1:] != columns["episodes"][:-1], False)
        truncated |= changes & ~terminated
    if not terminated[-1] and not truncated[-1]:
        truncated[-1] = True
        flat.notes.append("the last episode is unfinished; it counts as cut by a limit.")
    if columns["next_observations"] is None:
        return terminated, truncated, None
    return terminated, truncated, _follow(flat, columns, terminated, truncated)


def _marked(flat: FlatLog, columns: dict[str, Any], steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Which rows are marked as true ends and as cut ones. Done is either: without the one it is the other."""
    terminated, truncated, done = (_flags(columns[name], steps) for name in FLAGS)
    if columns["terminals"] is not None:
        return terminated, (truncated | done) & ~terminated
    if columns["done"] is None:
        flat.notes.append("nothing marks true ends; every episode counts as cut by a limit.")
    elif columns["timeouts"] is None:
        called = _called(flat, "done")
        flat.notes.append(f"'{called}' does not tell a true end from a time limit; all count as true ends.")
    return done & ~truncated, truncated


def _follow(flat: FlatLog, columns: dict[str, Any], terminated: np.ndarray, truncated: np.ndarray) -> np.ndarray | None:
    """The next observation of each episode's last row; marks in `truncated` the ends that nothing else marks.

    One pass over the next observations, so that they never have to be in memory. None where they are of no use: made
    by shifting the observations by a row, they lead from the end of an episode into the next one.
    """
    observations, following = columns["observations"], columns["next_observations"]
    finals, resets, unmarked, cut = [], [], 0, 0
    together = _rows_together(following)
    for start in range(0, len(observations), together):
        after = np.asarray(following[start : start + together])
        here = slice(start, start + len(after))
        within = observations[start + 1 : start + len(after) + 1]  # a row less in the last block
        moved = np.zeros(len(after), bool)
        moved[: len(within)] = _differ(after[: len(within)], within)
        marked = truncated[here] & ~terminated[here]
        marked[len(within) :] = False  # nothing comes after the last row
        cut += int(marked.sum())
        resets.append(after[marked & ~moved])
        jumps = moved & ~terminated[here] & ~truncated[here]
        unmarked += int(jumps.sum())
        truncated[here] |= jumps
        finals.append(after[terminated[here] | truncated[here]])
        trim()
    within_episodes = len(observations) - int((terminated | truncated).sum()) + unmarked
    if within_episodes > FEW_ROWS and unmarked > MOST_JUMPS * within_episodes:
        raise DataError(
            f"{flat.place}: '{_called(flat, 'next_observations')}' is not the observation of the row after in "
            f"{unmarked} of {within_episodes} rows within episodes.",
            "Rows of several environments in turns, or another normalisation? Name their episodes, or\n"
            "let --mapping leave the next observations out.",
        )
    if unmarked:
        flat.notes.append(f"{unmarked} episode ends were not marked; found where the next observation jumps.")
    reached = np.concatenate(resets)
    # Where all episodes begin alike, an end may truly look like a beginning.
    if cut and len(reached) == cut and not unmarked and (reached != reached[0]).any():
        flat.notes.append("next observations lead from each cut episode into the next one; they are not used.")
        return None
    return np.concatenate(finals)


def _rows_together(column: Any) -> int:
    """Rows to read at a time: of a chunked column whole chunks, so that none is unpacked twice."""
    chunks = getattr(column, "chunks", None)
    chunk = min(chunks[0], MOST_TOGETHER) if chunks else 1
    return max(1, BLOCK // chunk) * chunk


def _differ(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Rows that differ, [n]; a number that is not finite equals nothing, and is no end: the checks name it later."""
    if a.dtype.kind == b.dtype.kind == "f" and a.dtype != b.dtype:  # one of them was rounded
        rounded = min(a.dtype, b.dtype, key=lambda kind: kind.itemsize)
        a, b = a.astype(rounded), b.astype(rounded)
    differs = a != b
    if not differs.any():
        return np.zeros(len(a), bool)
    rows = differs.reshape(len(a), -1).any(-1)
    at = np.flatnonzero(rows)
    finite = np.isfinite(a[at]) & np.isfinite(b[at])
    rows[at] = (differs[at] & finite).reshape(len(at), -1).any(-1)
    return rows


def _flags(column: np.ndarray | None, steps: int) -> np.ndarray:
    """Flags as booleans that may be changed; old releases store them as floats."""
    if column is None:
        return np.zeros(steps, bool)
    return np.array(column) if column.dtype == bool else np.asarray(column > FLAG_LIMIT)


def _final_observations(flat: FlatLog, expected: tuple[int, ...]) -> np.ndarray | None:
    final = flat.final_observations
    if final is None or final.shape == expected:
        return final
    flat.notes.append(
        f"{_called(flat, 'final_observations')} has shape {list(final.shape)}, the log asks for {list(expected)}; "
        "not used."
    )
    return None


def _action_space(flat: FlatLog, actions: np.ndarray, convention: str) -> ActionSpace:
    if convention in DISCRETE:
        return space_of_choices(actions, flat.choices)
    return ActionSpace(shape=actions.shape[1:], low=flat.action_low, high=flat.action_high)


def _give_up_last_steps(
    log: dict[str, np.ndarray | None], starts: np.ndarray, flat: FlatLog
) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
    """Without next observations the last step of a cut episode leads nowhere: its observation becomes the final one.

    A terminated episode keeps its last step, since nothing is bootstrapped from what follows it.
    """
    observations, truncated = cast(np.ndarray, log["observations"]), cast(np.ndarray, log["truncated"])
    last = starts[1:] - 1
    kept = np.ones(len(observations), bool)
    kept[last[truncated[last]]] = False
    lengths = np.add.reduceat(kept, starts[:-1], dtype=np.int64)
    whole = lengths > 0
    if not whole.any():
        raise DataError(f"{flat.place}: every episode is one cut step long; nothing can be learned from it.")
    # An episode of one cut step goes altogether; the row before it is another episode's.
    cut = last[truncated[last] & whole]
    truncated = truncated.copy()
    truncated[cut - 1] = True
    log = {**log, "truncated": truncated}
    if (~kept).any():
        flat.notes.append(f"no next observations: the last step of {(~kept).sum()} cut episodes was given up.")
    trimmed = {name: None if column is None else _kept(column, kept, name) for name, column in log.items()}
    return trimmed, np.concatenate([[0], np.cumsum(lengths[whole])]), rows_of(observations, last[whole])


def _kept(column: np.ndarray, kept: np.ndarray, name: str) -> np.ndarray:
    """The rows that are kept; of a mapped column they are mapped again, not brought into memory."""
    if kept.all():
        return column
    if not isinstance(column, np.memmap) or column.filename is None:
        return column[kept]
    root = column
    while isinstance(root.base, np.ndarray):
        root = root.base
    view = f"{column.ctypes.data - root.ctypes.data} {column.strides}".encode() + np.packbits(kept).tobytes()

    def fill(target: np.ndarray) -> None:
        at = 0
        for start, block in blocks(column):
            rows = block[kept[start : start + len(block)]]
            target[at : at + len(rows)] = rows
            at += len(rows)

    shape = (int(kept.sum()), *column.shape[1:])
    return filled(Path(column.filename), f"{name}-{hashlib.sha256(view).hexdigest()[:16]}", shape, column.dtype, fill)
