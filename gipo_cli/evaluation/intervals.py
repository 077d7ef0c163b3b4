"""Intervals for what was measured."""

import math

import numpy as np
from scipy import stats

# 97.5 % point of the normal: an evaluation has tens of episodes or more, where Student's t differs by under 2 %.
NORMAL_975 = 1.959964


def difference_of_means(first: np.ndarray, second: np.ndarray) -> dict[str, float | None]:
    """Mean of `first` less mean of `second`, with Welch's 95 % interval; no interval for a single value.

        (m1 - m2) ± 1.96 sqrt(s1^2 / n1 + s2^2 / n2)

    It covers the episodes' randomness alone: another seed of training is another policy.
    """
    mean = float(first.mean() - second.mean())
    if min(len(first), len(second)) < 2:
        return {"mean": mean, "lower": None, "upper": None}
    error = math.sqrt(first.var(ddof=1) / len(first) + second.var(ddof=1) / len(second))
    return {"mean": mean, "lower": mean - NORMAL_975 * error, "upper": mean + NORMAL_975 * error}


def mean_over_seeds(values: np.ndarray) -> dict[str, float | None]:
    """Mean of one number a seed with its 95 % interval by Student's t; no interval for a single seed.

        m ± t(0.975, n - 1) s / sqrt(n)

    With 2 seeds t is 12.7, with 5 it is 2.8: few seeds give a wide interval, and they should.

    Args:
        values: one a seed, [n].
    """
    mean, count = float(values.mean()), len(values)
    if count < 2:
        return {"mean": mean, "lower": None, "upper": None}
    half = float(stats.t.ppf(0.975, count - 1) * stats.sem(values))
    return {"mean": mean, "lower": mean - half, "upper": mean + half}


def gain_over_episodes(seeds: np.ndarray, episodes: np.ndarray) -> dict[str, float | None]:
    """Mean over seeds less the mean over episodes of one other policy, with Welch's 95 % interval.

        (m1 - m2) ± t(0.975, nu) sqrt(s1^2 / n1 + s2^2 / n2),   nu by Welch and Satterthwaite

    The spread over seeds already has the episodes' noise of each seed in it. That the two met the same starts is not
    used, which makes the interval a little too wide. Written out, as scipy's ttest_ind has no interval, but a
    warning and nan, where the seeds are all alike, which seeds that went back to the starting policy are.

    Args:
        seeds: mean return of each seed, [n1].
        episodes: returns of the other policy's episodes, [n2].
    """
    mean = float(seeds.mean() - episodes.mean())
    if min(len(seeds), len(episodes)) < 2:
        return {"mean": mean, "lower": None, "upper": None}
    parts = [float(values.var(ddof=1) / len(values)) for values in (seeds, episodes)]
    error = sum(parts)
    if error == 0:
        return {"mean": mean, "lower": mean, "upper": mean}
    freedom = error**2 / sum(p**2 / (len(v) - 1) for p, v in zip(parts, (seeds, episodes), strict=True))
    half = float(stats.t.ppf(0.975, freedom)) * math.sqrt(error)
    return {"mean": mean, "lower": mean - half, "upper": mean + half}
