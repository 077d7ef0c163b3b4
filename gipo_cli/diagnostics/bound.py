"""The largest weight that GIPO can give."""

import math


def bound(sigma: float) -> float | None:
    """The height of the gradient weight of GIPO, reached at log_ratio = sigma^2.

        max over x of exp(x - (x / sigma)^2 / 2) = exp(sigma^2 / 2)

    It is a bound on the weight, not on the trust factor, which is at most 1. None beyond float64 (sigma above 37).

    Source: completing the square in equations 5 and 6 of https://arxiv.org/abs/2603.18464

    Args:
        sigma: width of the trust weight, in nats.
    """
    return math.exp(sigma**2 / 2) if sigma < 37 else None
