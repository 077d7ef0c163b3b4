"""How heavy the tail of the weights is: whether a mean of them settles at all, and at how many samples."""

import math

import numpy as np
from numpy.typing import NDArray

from gipo_cli.diagnostics.columns import Column, summed
from gipo_cli.diagnostics.generalised_pareto import shape
from gipo_cli.diagnostics.order_statistics import Largest

FEWEST = 25  # samples: with fewer, the tail that is fitted has fewer than five
WORST_GOOD = 0.7  # Vehtari et al., section 3.2.4
WIDEST_TAIL = 500.0  # nats between the tail's ends; beyond, weights divided by the largest underflow


def pareto_k(log_weight: Column) -> float:
    """Shape k of the generalised Pareto distribution fitted to the largest weights (k-hat of PSIS).

    Moments of the weights above the (1 / k)th do not exist. Below 1/2 the variance is finite and a mean settles as
    usual; from there to 0.7 it settles slowly; from 1 on there is no mean. The largest 3 sqrt(N) weights are fitted. It
    is of steps taken as independent: those of one episode are not, so a heavy tail may be seen too late, and a light
    one is no proof.

    A tail so wide that its weights underflow, and one that reaches weights of 0, has Hill's estimate in its place, the
    mean excess of the log weights.

    Source: Vehtari, Simpson, Gelman, Yao and Gabry 2024, https://arxiv.org/abs/1507.02646

    Args:
        log_weight: natural log of the weights, [N]; any constant may be added.

    Raises:
        ValueError: fewer than FEWEST samples, or the largest weights are all alike: there is no tail.
    """
    return tail_shape(summed(tail_of(len(log_weight)), log_weight).rising(), len(log_weight))


def tail_of(samples: int) -> Largest:
    """Takes the weights whose tail is fitted, a block at a time: of N samples, the largest ones and their threshold."""
    return Largest(_tail_size(samples) + 1)


def tail_shape(tail: NDArray[np.float64], samples: int) -> float:
    """The k of `pareto_k`, by the largest of N log weights, rising, that `tail_of` found."""
    if samples < FEWEST:
        raise ValueError(f"there are fewer than {FEWEST} samples")
    size = tail.size - 1
    tail = tail[tail > -np.inf]
    if tail.size < 2:
        raise ValueError("fewer than two weights are above 0")
    if tail.size > 2 and tail[1] == tail[-1]:
        raise ValueError("the largest weights are all alike")
    if tail.size <= size or tail[-1] - tail[0] > WIDEST_TAIL:
        return float(np.mean(tail[1:] - tail[0]))
    weight = np.exp(tail - tail[-1])
    return shape(weight[1:] - weight[0])


def good_below(samples: int) -> float:
    """The k below which a mean over so many samples can be relied on: min(1 - 1 / log10(N), 0.7).

    Source: Vehtari et al., section 3.2.4

    Args:
        samples: N.
    """
    return min(1 - 1 / math.log10(max(samples, 2)), WORST_GOOD)


def samples_needed(k: float) -> float:
    """How many samples a mean needs for a k, 10^(1 / (1 - max(0, k))); infinite from 1 on. Source: as `good_below`."""
    return 10 ** min(1 / (1 - max(0.0, k)), 300.0) if k < 1 else math.inf


def _tail_size(samples: int) -> int:
    """How many of the largest weights PSIS fits."""
    return math.floor(3 * samples**0.5) if samples > 225 else samples // 5
