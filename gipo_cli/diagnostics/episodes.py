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
    starts = np.flatnonzero(np.diff(episode, prepend=episode[0] - 1))
    return starts, np.diff(np.append(starts, episode.size))
