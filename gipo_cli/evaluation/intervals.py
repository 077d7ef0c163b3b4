"""Intervals for what was measured."""

import math

import numpy as np

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
