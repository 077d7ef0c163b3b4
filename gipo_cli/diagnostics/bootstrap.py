"""Lower bounds by resampling whole episodes, because the steps of one episode are not independent."""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
MOST_DRAWN = 2**13  # episodes; of more, neighbours are drawn together, so that resamples take 130 MB at most
FEWEST_EPISODES = 5  # with fewer the resamples repeat themselves and a bound means nothing


def lower_bound(
    sums: NDArray[np.floating],
    statistic: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    level: float = 0.95,
) -> float | None:
    """One-sided lower confidence bound of a function of sums over episodes (percentile bootstrap).

    Args:
        sums: what each episode adds, [E, K]; the statistic is a function of their totals.
        statistic: totals [B, K] -> values [B], of B resamples at once.
        level: the share of repetitions in which the bound should hold.

    Of more than MOST_DRAWN episodes, so many that lie side by side are drawn as one: they are as independent as single
    ones are, and thousands of them say as much.

    Returns:
        The (1 - level) quantile over resamples of episodes with replacement; none where there are fewer than
        FEWEST_EPISODES.

    Source: Efron and Tibshirani 1993, chapter 13; the episode as the unit, since steps are dependent.
    """
    episodes = len(sums)
    if episodes < FEWEST_EPISODES:
        return None
    sums = np.add.reduceat(sums.astype(np.float64), np.arange(0, episodes, -(-episodes // MOST_DRAWN)))
    return float(np.quantile(statistic(_drawn(len(sums)) @ sums), 1 - level))


@lru_cache(maxsize=1)
def _drawn(episodes: int) -> NDArray[np.uint16]:
    """How often each episode is in each resample, [RESAMPLES, E]: the same at every report of a training."""
    drawn = np.random.default_rng(0).multinomial(episodes, np.full(episodes, 1 / episodes), size=RESAMPLES)
    return drawn.astype(np.uint16)
