"""One number for a method over several logs, with its interval, from few runs a log.

Source for all of it: Agarwal et al. 2021, Deep RL at the edge of the statistical precipice, arXiv:2108.13264, and its
library rliable, whose definitions these are; the parts are scipy's.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

RESAMPLES = 10_000
FEWEST_SEEDS = 3  # a resample of two seeds is one of three averages: an interval made of them means nothing
ENOUGH_SEEDS = 5  # with fewer the interval is far too narrow; see `_with_interval`
TRIMMED = 0.25  # from either end

Scores = Sequence[NDArray[np.float64]]  # for each log, one number a seed, [seeds of that log]


def interquartile_mean(scores: Scores) -> dict[str, float | None]:
    """Mean of the middle half of all runs of all logs, with its interval; one good or bad seed cannot move it far.

        sort all n scores; leave out the lowest and the highest floor(n / 4); mean of the rest

    Below 4 runs nothing is left out. All runs count alike, so a log with more seeds weighs more.
    """
    return _with_interval(_trimmed_mean, scores)


def mean(scores: Scores) -> dict[str, float | None]:
    """Mean over logs of the mean over seeds, with its interval."""
    return _with_interval(_mean_of_means, scores)


def probability_of_improvement(first: Scores, second: Scores) -> dict[str, float | None]:
    """How likely a run of `first` beats a run of `second` on a log, averaged over logs, with its interval.

        P(X > Y) + P(X = Y) / 2,   which is Mann and Whitney's U / (n m)

    It says how often, not by how much. 0.5 is no difference; scores of a log need no common scale with other logs'.

    Args:
        first: for each log, one number a seed; [n] may differ from log to log.
        second: of the same logs in the same order.
    """
    return _with_interval(_superiority, [*first, *second])


def _with_interval(statistic: Callable[..., Any], samples: Scores) -> dict[str, float | None]:
    """A statistic and its percentile interval over resamples of seeds, drawn within each log (stratified bootstrap).

    It tells how far other seeds on these logs would have moved the value; nothing of other logs. With few seeds it is
    too narrow: with 3 seeds on one log it covers the interquartile mean of normal scores in 76 % of 400 trials, with
    5 in 89 % (examples/studies/coverage.py). Where no resample changes the value, as where every run beats every
    other, it has no width, and that is no certainty.

    Returns:
        value, lower and upper; no bounds where a log has fewer than FEWEST_SEEDS.
    """
    value = float(statistic(*samples))
    if min(map(len, samples)) < FEWEST_SEEDS:
        return {"value": value, "lower": None, "upper": None}
    found = stats.bootstrap(
        samples, statistic, n_resamples=RESAMPLES, vectorized=True, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    return {"value": value, "lower": float(found.low), "upper": float(found.high)}


def _trimmed_mean(*scores: NDArray[np.float64], axis: int = -1) -> Any:
    return stats.trim_mean(np.concatenate(scores, axis=axis), TRIMMED, axis=axis)


def _mean_of_means(*scores: NDArray[np.float64], axis: int = -1) -> Any:
    return np.mean([values.mean(axis=axis) for values in scores], axis=0)


def _superiority(*scores: NDArray[np.float64], axis: int = -1) -> Any:
    logs = len(scores) // 2
    # Its p-value is not used; exact ones would take long.
    shares = [
        stats.mannwhitneyu(x, y, axis=axis, method="asymptotic").statistic / (x.shape[axis] * y.shape[axis])
        for x, y in zip(scores[:logs], scores[logs:], strict=True)
    ]
    return np.mean(shares, axis=0)
