"""Intervals for what was measured."""

import math
import warnings
from collections.abc import Callable

import numpy as np
from scipy import stats

# 97.5 % point of the normal: an evaluation has tens of episodes or more, where Student's t differs by under 2 %.
NORMAL_975 = 1.959964
RESAMPLES = 2000
BATCH = 200  # resamples at once


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


def of_mean(values: np.ndarray, level: float, other_error: float = 0.0) -> dict[str, float | None]:
    """Mean of one number an episode with its two-sided interval by Student's t; none for a single episode.

        m ± t((1 + level) / 2, n - 1) sqrt(s^2 / n + other_error^2)

    Args:
        values: one an episode, [n].
        level: share of repetitions in which the interval should hold the truth.
        other_error: standard error from elsewhere, as of an ensemble's members.
    """
    mean, count = float(values.mean()), len(values)
    if count < 2 or not np.isfinite(values).all():
        return {"mean": mean if math.isfinite(mean) else None, "lower": None, "upper": None}
    with np.errstate(over="ignore"):
        error = math.hypot(float(stats.sem(values)), other_error)
    half = float(stats.t.ppf((1 + level) / 2, count - 1)) * error
    if not math.isfinite(half):
        return {"mean": mean, "lower": None, "upper": None}
    return {"mean": mean, "lower": mean - half, "upper": mean + half}


def of_counts(
    statistic: Callable[[np.ndarray], np.ndarray], episodes: int, level: float, other_error: float = 0.0
) -> dict[str, float | None]:
    """A function of how often each episode is counted, with its two-sided BCa bootstrap interval over episodes.

    For self-normalised estimates, which are ratios of sums and no means: a t interval does not know their bias, BCa
    moves the bootstrap's quantiles by it and by their skewness. None where the resamples are all alike or one of them
    drew no weight at all.

    Source: Efron 1987, Better Bootstrap Confidence Intervals; scipy.stats.bootstrap

    Args:
        statistic: counts [B, E] -> values [B].
        episodes: E.
        level: as of `of_mean`.
        other_error: standard error from elsewhere, which widens either side: sqrt(side^2 + (z other_error)^2).
    """
    mean = float(statistic(np.ones((1, episodes)))[0])

    def of_drawn(drawn: np.ndarray, axis: int = -1) -> np.ndarray:
        flat = drawn.reshape(-1, drawn.shape[axis]).astype(np.int64)
        places = flat + episodes * np.arange(len(flat))[:, None]
        counts = np.bincount(places.ravel(), minlength=episodes * len(flat)).reshape(len(flat), episodes)
        return statistic(counts.astype(np.float64)).reshape(drawn.shape[:-1])

    unknown = {"mean": mean if math.isfinite(mean) else None, "lower": None, "upper": None}
    if episodes < 2 or unknown["mean"] is None:
        return unknown
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # degenerate resamples are said by the interval that is not there
        found = stats.bootstrap(
            (np.arange(episodes),), of_drawn, n_resamples=RESAMPLES, batch=BATCH, confidence_level=level,
            method="BCa", vectorized=True, rng=np.random.default_rng(0),
        ).confidence_interval  # fmt: skip
    if not (math.isfinite(found.low) and math.isfinite(found.high)):
        return unknown
    other = float(stats.norm.ppf((1 + level) / 2)) * other_error
    below, above = (math.copysign(math.hypot(side, other), side) for side in (mean - found.low, found.high - mean))
    return {"mean": mean, "lower": mean - below, "upper": mean + above}
