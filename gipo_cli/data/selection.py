"""Parts of a log: some of its rows or episodes."""

from dataclasses import replace

import numpy as np

from gipo_cli.data.trajectories import Trajectories
from gipo_cli.errors import DataError


def take_episodes(log: Trajectories, which: np.ndarray) -> Trajectories:
    """The episodes of a log that are marked, in their order.

    Args:
        log: any.
        which: [E] bool.

    Raises:
        DataError: none is marked.
    """
    return _take(log, np.repeat(which, log.episode_lengths), log.final_observations[which])


def drop_edge_rows(log: Trajectories, edge: str) -> Trajectories:
    """The log without the first or the last row of every episode; one of a single row goes altogether.

    Without its last row an episode ends a step earlier: the observation of that row becomes the final one, and the
    episode counts as cut, since what follows is not an end.

    Raises:
        DataError: no row is left.
    """
    lengths, starts = log.episode_lengths, log.episode_starts
    kept, whole = np.ones(log.transitions, bool), lengths > 1
    if edge == "first":
        kept[starts[:-1]] = False
        return _take(log, kept, log.final_observations[whole])
    last = starts[1:] - 1
    kept[last] = False
    truncated = np.array(log.truncated)
    truncated[last[whole] - 1] = True
    return _take(replace(log, truncated=truncated), kept, np.asarray(log.observations[last[whole]]))


def _take(log: Trajectories, kept: np.ndarray, final_observations: np.ndarray) -> Trajectories:
    lengths = np.add.reduceat(kept.astype(np.int64), log.episode_starts[:-1])
    if not kept.any():
        raise DataError(f"{log.name}: no step is left of it.")
    return replace(
        log,
        **{name: column[kept] for name, column in log.columns().items()},
        final_observations=final_observations,
        episode_starts=np.concatenate([[0], np.cumsum(lengths[lengths > 0])]).astype(np.int64),
    )
