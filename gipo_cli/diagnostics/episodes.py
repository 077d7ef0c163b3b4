"""Where episodes begin in columns of steps."""

import numpy as np
from numpy.typing import NDArray


def starts_and_lengths(episode: NDArray[np.integer]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """First row and number of steps of every episode.

    Args:
        episode: which episode a step is of, [N]; its rows lie together.

    Raises:
        ValueError: there is no sample.
    """
    if episode.size == 0:
        raise ValueError("there are no samples")
    starts = np.append(0, np.flatnonzero(episode[1:] != episode[:-1]) + 1)
    return starts, np.diff(np.append(starts, episode.size))


def numbered(episode: NDArray[np.integer]) -> NDArray[np.intp]:
    """Episodes numbered from 0 without gaps, [N]; what `np.unique` calls the inverse, but only runs of rows are sorted.

    Args:
        episode: which episode a step is of, [N]; its rows may lie anywhere.

    Raises:
        ValueError: there is no sample.
    """
    starts, lengths = starts_and_lengths(episode)
    return np.repeat(np.unique(episode[starts], return_inverse=True)[1], lengths)
