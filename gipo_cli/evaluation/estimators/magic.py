"""Blend of fitted Q and weighted doubly robust: weights for a few steps, then V."""

import numpy as np
from scipy.linalg import cholesky
from scipy.optimize import nnls

from gipo_cli.evaluation.estimators import Array, Evidence, Statistic, rests_on, weighted_steps

BLENDED = 25  # of the j-step estimates
RESAMPLES = 200
MIDDLE = (0.25, 0.75)  # the interval of the last estimate that biases are measured from


@rests_on("values")
def estimate(evidence: Evidence) -> Statistic:
    """The blend of j-step estimates with the least estimated error.

        J = sum_j x_j g_j,   g_j = sum_{t <= j} (gained_t + carried_t) + carried_{j+1}
        x = argmin x' (cov(g) + b b') x,   x >= 0,   sum x = 1

    g_j weighs the first j + 1 steps and leaves the rest to V: g_-1 is fitted Q, the last g weighted doubly robust.
    b_j is how far g_j lies from the middle half of the bootstrap of the last. Where products of ratios degenerate, few
    episodes make that half, too, and the blend may lean on them.

    Source: Thomas and Brunskill 2016, https://arxiv.org/abs/1604.00923, section 7; 25 of the j, spread by powers
    """
    terms = weighted_steps(evidence)
    steps, episodes = int(evidence.lengths.max()), len(evidence.starts)
    ends = np.unique(np.concatenate([[-1], np.geomspace(1, steps, BLENDED - 1).round() - 1]).astype(int))

    def blended(counts: Array) -> Array:
        gained, carried = terms(counts)
        done = np.pad(np.cumsum(gained + carried, -1), ((0, 0), (1, 0)))
        return done[:, ends + 1] + np.pad(carried, ((0, 0), (0, 1)))[:, ends + 1]

    drawn = np.random.default_rng(0).multinomial(episodes, np.full(episodes, 1 / episodes), size=RESAMPLES)
    found = blended(drawn.astype(np.float64))
    found = found[np.isfinite(found).all(-1)]
    if len(found) < 2:
        return Statistic(lambda counts: np.full(len(counts), np.nan))
    low, high = np.quantile(found[:, -1], MIDDLE)
    value = blended(np.ones((1, episodes)))[0]
    bias = np.maximum(low - value, 0) + np.maximum(value - high, 0)
    share = least_error(np.cov(found, rowvar=False).reshape(len(ends), len(ends)) + np.outer(bias, bias))
    return Statistic(lambda counts: blended(counts) @ share)


def least_error(error: Array) -> Array:
    """The x >= 0 with sum 1 that makes x' error x least.

    With error = L L', the y >= 0 nearest to L' y = inv(L) 1 makes y' error y / 2 - sum y least: x up to a factor.
    """
    scale = np.trace(error) / len(error) + 1e-300
    lower = cholesky(error / scale + 1e-9 * np.eye(len(error)), lower=True)
    found = nnls(lower.T, np.linalg.solve(lower, np.ones(len(error))))[0]
    return found / found.sum()
