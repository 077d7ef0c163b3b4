"""The shape of a generalised Pareto distribution, fitted to the excesses of a tail."""

import math

import numpy as np
from numpy.typing import NDArray

PRIOR_SAMPLES, PRIOR_SHAPE = 10, 0.5  # what the estimate is drawn to, and with the force of how many samples
NARROWNESS = 3  # of the grid of scales, in upper quartiles


def shape(excess: NDArray[np.float64]) -> float:
    """Shape k by Zhang and Stephens' estimate, a posterior mean over a grid of scales, with PSIS' prior of k = 1/2.

        k(b) = mean(log(1 - b x)),   b averaged over the grid by its profile likelihood,   (n k + 10 / 2) / (n + 10)

    It is what arviz-stats fits, to rounding. Written out, since to import that takes 0.8 s of CPU, which every training
    and every look at a run would pay (`time python -c "import arviz_stats.base.array"`).

    Source: Zhang and Stephens 2009, Technometrics 51(3); the prior of Vehtari et al., https://arxiv.org/abs/1507.02646,
    appendix C

    Args:
        excess: x, of the tail over its threshold, rising, the last of them above 0, [n].
    """
    n, points = excess.size, 30 + math.isqrt(excess.size)
    quartile = excess[int(n / 4 + 0.5) - 1]
    if quartile == 0:  # ties with the threshold: no scale is told, and the prior is all there is
        return PRIOR_SAMPLES * PRIOR_SHAPE / (n + PRIOR_SAMPLES)
    b = 1 / excess[-1] + (1 - np.sqrt(points / (np.arange(1, points + 1) - 0.5))) / (NARROWNESS * quartile)
    k = np.log1p(-b[:, None] * excess).mean(1)
    log_likelihood = n * (np.log(-b / k) - k - 1)
    weight = np.exp(log_likelihood - log_likelihood.max())
    found = np.log1p(-np.average(b, weights=weight) * excess).mean()
    return float((n * found + PRIOR_SAMPLES * PRIOR_SHAPE) / (n + PRIOR_SAMPLES))
