"""Some episodes of a log, or several logs as one; columns mapped from a disk are copied a block of rows at a time."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Literal

import numpy as np

from gipo_cli.data.cache import scratch
from gipo_cli.data.resident import blocks, rows_of
from gipo_cli.data.trajectories import COLUMNS, ActionSpace, BehaviourWeights, Trajectories
from gipo_cli.errors import DataError

# From what is known best to what is known least: a log is as good as the worst of its parts.
ORIGINS = ("recorded", "recomputed", "estimated")
Versions = Literal["keep", "number"]


def split_episodes(episodes: int, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of a random share of the episodes, and of the rest, each in the order of the log and neither empty.

    Raises:
        DataError: there are not two episodes.
    """
    if episodes < 2:
        raise DataError(f"a log of {episodes} episode cannot be split.", "Whole episodes are taken, at least one each.")
    order = np.random.default_rng(seed).permutation(episodes)
    taken = min(max(round(fraction * episodes), 1), episodes - 1)
    return np.sort(order[:taken]), np.sort(order[taken:])


def take_episodes(log: Trajectories, which: Sequence[int] | np.ndarray) -> Trajectories:
    """The episodes of these numbers, in this order; everything else about the log stays as it is.

    Raises:
        DataError: there is no episode of a number, or no number.
    """
    numbers = np.asarray(which, np.int64)
    if len(numbers) == 0:
        raise DataError(f"{log.name}: no episodes were chosen.")
    if numbers.min() < 0 or numbers.max() >= log.episodes:
        raise DataError(f"{log.name} has episodes 0 to {log.episodes - 1}; {numbers.min()} to {numbers.max()} chosen.")
    runs = [(int(log.episode_starts[first]), int(log.episode_starts[last + 1])) for first, last in _runs(numbers)]
    taken: dict[str, Any] = {
        name: _joined((column[start:end] for start, end in runs), sum(end - start for start, end in runs), [column])
        for name, column in log.columns().items()
    }
    starts = np.concatenate([[0], np.cumsum(log.episode_lengths[numbers])]).astype(np.int64)
    return replace(log, episode_starts=starts, final_observations=log.final_observations[numbers], **taken)


def drop_edge_rows(log: Trajectories, edge: Literal["first", "last"]) -> Trajectories:
    """The log without the first or the last row of every episode; one of a single row goes altogether.

    Without its last row an episode ends a step earlier: the observation of that row becomes the final one, and the
    episode counts as cut, since what follows is not an end.

    Raises:
        DataError: no row is left.
    """
    lengths, starts = log.episode_lengths, log.episode_starts
    whole = lengths > 1
    if not whole.any():
        raise DataError(f"{log.name}: its episodes are one step long; nothing would be left of it.")
    kept, final, truncated = np.ones(log.transitions, bool), log.final_observations[whole], np.array(log.truncated)
    if edge == "first":
        kept[starts[:-1]] = False
    else:
        last = starts[1:] - 1
        kept[last] = False
        truncated[last[whole] - 1] = True
        final = rows_of(log.observations, last[whole])
    columns: dict[str, Any] = {
        name: column[kept] for name, column in (log.columns() | {"truncated": truncated}).items()
    }
    ends = np.cumsum(lengths[whole] - 1)
    return replace(log, final_observations=final, episode_starts=np.append(0, ends).astype(np.int64), **columns)


def _runs(numbers: np.ndarray) -> Iterable[tuple[int, int]]:
    """Numbers that follow each other, as first and last."""
    breaks = np.flatnonzero(np.diff(numbers) != 1) + 1
    return zip(numbers[np.append(0, breaks)], numbers[np.append(breaks, len(numbers)) - 1], strict=True)


def concatenate(logs: Sequence[Trajectories], name: str, versions: Versions = "keep") -> Trajectories:
    """Several logs of one environment laid end to end.

    What only some of them have, or have differently, is dropped with a note: the behaviour policy's weights, the
    pre-squash actions, the versions. Actions that nothing says were executed otherwise were executed as sampled.

    Args:
        logs: at least one.
        name: of the result.
        versions: "keep" the policy versions that all of them have, or "number" the logs 0, 1, ...

    Raises:
        DataError: their spaces, conventions or environments differ, or only some have log-probs.
    """
    first = logs[0]
    for log in logs[1:]:
        _require_alike(first, log)
    notes = [*dict.fromkeys(note for log in logs for note in log.notes)]
    kept = [column for column in COLUMNS if column != "policy_versions" or versions == "keep"]
    columns = {column: _column(logs, column, notes) for column in kept}
    if versions == "number":
        columns["policy_versions"] = np.repeat(np.arange(len(logs)), [log.transitions for log in logs])
    elif columns["policy_versions"] is not None:
        notes += _shared_versions(logs)
    origins = [log.log_probs_origin for log in logs]
    if len(set(origins)) > 1:
        notes.append(f"log-probs are {', '.join(o for o in ORIGINS if o in origins)}; the worst stands for all.")
    offsets = np.cumsum([0, *(log.transitions for log in logs)])
    starts = [log.episode_starts[:-1] + offset for log, offset in zip(logs, offsets, strict=False)]
    rows: dict[str, Any] = {column: values for column, values in columns.items()}
    return replace(
        first,
        name=name,
        source=", ".join(log.source for log in logs),
        final_observations=np.concatenate([log.final_observations for log in logs]),
        episode_starts=np.concatenate([*starts, offsets[-1:]]).astype(np.int64),
        action_space=_space(logs),
        environment=next((log.environment for log in logs if log.environment), None),
        behaviour_weights=_weights(logs, notes),
        log_probs_origin=first.log_probs_origin if "none" in origins else max(origins, key=ORIGINS.index),
        notes=tuple(notes),
        repairs=tuple(dict.fromkeys(repair for log in logs for repair in log.repairs)),
        **rows,
    )


def _require_alike(first: Trajectories, other: Trajectories) -> None:
    """Refuse logs that are not of one kind."""
    named = (first.environment, other.environment)
    pairs = (
        ("observations of shape", first.observations.shape[1:], other.observations.shape[1:]),
        ("a number of choices of", first.action_space.n, other.action_space.n),
        ("choices by dimension of", first.action_space.nvec, other.action_space.nvec),
        ("actions of shape", first.actions.shape[1:], other.actions.shape[1:]),
        ("log-probs of convention", first.convention, other.convention),
        ("log-probs of shape", first.behaviour_log_probs.shape[1:], other.behaviour_log_probs.shape[1:]),
        ("the environment", *(named if all(named) else (None, None))),
        *((f"a {side} bound of actions", *_bounds(first, other, side)) for side in ("low", "high")),
    )
    for what, here, there in pairs:
        if here != there:
            shown = [list(value) if isinstance(value, tuple) else value for value in (here, there)]
            raise DataError(
                f"{first.name} has {what} {shown[0]}, {other.name} {shown[1]}; logs of one kind can be merged."
            )
    for has, lacks in ((first, other), (other, first)):
        if has.log_probs_origin != "none" and lacks.log_probs_origin == "none":
            raise DataError(
                f"{has.name} has log-probs and {lacks.name} has none; they cannot be merged as they are.",
                "--behaviour POLICY or --estimate-behaviour gives it some.",
            )


def _bounds(first: Trajectories, other: Trajectories, side: str) -> tuple[Any, Any]:
    here, there = getattr(first.action_space, side), getattr(other.action_space, side)
    return (None, None) if here is None or there is None else (here.tolist(), there.tolist())


def _space(logs: Sequence[Trajectories]) -> ActionSpace:
    """The space of all: a bound that only some of them know is that of the others, too."""
    known = {
        side: next((b for log in logs if (b := getattr(log.action_space, side)) is not None), None)
        for side in ("low", "high")
    }
    return replace(logs[0].action_space, **known)


def _column(logs: Sequence[Trajectories], name: str, notes: list[str]) -> np.ndarray | None:
    columns = [getattr(log, name) for log in logs]
    if all(column is None for column in columns):
        return None
    if any(column is None for column in columns):
        if name != "executed_actions":
            notes.append(f"only some of the merged logs have {name}; dropped.")
            return None
        columns = [log.actions if log.executed_actions is None else log.executed_actions for log in logs]
    return _joined(columns, sum(map(len, columns)), columns)


def _shared_versions(logs: Sequence[Trajectories]) -> list[str]:
    """A note where logs have versions of the same numbers, which are one version from then on."""
    each = [np.unique(versions) for log in logs if (versions := log.policy_versions) is not None]
    found, times = np.unique(np.concatenate(each), return_counts=True)
    shared = found[times > 1]
    if len(shared) == 0:
        return []
    return [
        f"several of the merged logs have policy versions between {shared[0]} and {shared[-1]}; if other policies "
        "acted there, --versions number tells the logs apart."
    ]


def _weights(logs: Sequence[Trajectories], notes: list[str]) -> BehaviourWeights | None:
    found = [log.behaviour_weights for log in logs]
    if all(_same(found[0], other) for other in found[1:]):
        return found[0]
    notes.append("the merged logs carry the weights of different behaviour policies; dropped.")
    return None


def _same(one: BehaviourWeights | None, other: BehaviourWeights | None) -> bool:
    if one is None or other is None:
        return one is other
    described = [{**vars(weights), "arrays": sorted(weights.arrays)} for weights in (one, other)]
    return described[0] == described[1] and all(np.array_equal(one.arrays[k], other.arrays[k]) for k in one.arrays)


def _joined(parts: Iterable[np.ndarray], rows: int, like: Sequence[np.ndarray]) -> np.ndarray:
    """Parts laid end to end; a result that memory does not take lives in a file without a name, gone with the array."""
    whole = scratch((rows, *like[0].shape[1:]), np.result_type(*like))
    end = 0
    for part in parts:
        for _, rows_here in blocks(part):
            whole[end : end + len(rows_here)] = rows_here
            end += len(rows_here)
    return whole
