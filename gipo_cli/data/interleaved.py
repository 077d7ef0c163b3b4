"""Rows of several episodes in turns, as several environments in one batch leave them: put each episode together."""

from pathlib import Path

import numpy as np

from gipo_cli.errors import DataError


def in_order(place: Path, episodes: np.ndarray, steps: np.ndarray | None = None) -> np.ndarray | None:
    """The order of rows in which every episode stands together and runs from its first step to its last.

    Episodes come in the order in which they first appear; rows of one keep their order where `steps` does not say
    otherwise.

    Args:
        place: the file, for errors.
        episodes: which episode each row is of, [N], of any kind.
        steps: number of each row within its episode, [N]; none where the order of rows is all there is.

    Returns:
        A permutation [N], or none where the rows stand in that order already.

    Raises:
        DataError: an episode has one step twice, so that two episodes go by one name.
    """
    _, first, codes = np.unique(episodes, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    codes = rank[codes.reshape(-1)]
    within = np.zeros(len(codes), np.int64) if steps is None else steps
    order = np.lexsort((within, codes))
    if steps is not None:
        same = (codes[order][1:] == codes[order][:-1]) & (steps[order][1:] == steps[order][:-1])
        if same.any():
            at = int(same.argmax())
            first, second = sorted((int(order[at]), int(order[at + 1])))
            raise DataError(
                f"{place}: rows {first} and {second} are both step {steps[first]:g} of one episode.",
                "Were logs of two experiments put together? Read them one at a time.",
            )
    return None if np.array_equal(order, np.arange(len(order))) else order


def restarts(episodes: np.ndarray | None, steps: np.ndarray | None, count: int) -> np.ndarray:
    """A number for each run of rows that follow one another, [N]: another episode, or a step left out, begins one.

    Steps may be counted by ones or by any other number, as those of several environments together are.
    """
    begins = np.zeros(count, bool)
    if episodes is not None:
        begins[1:] |= episodes[1:] != episodes[:-1]
    if steps is not None and not begins[1:].all():
        apart = np.diff(steps)
        begins[1:] |= apart != np.median(apart[~begins[1:]])
    return np.cumsum(begins)
