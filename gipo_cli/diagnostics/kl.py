"""Two estimates of KL(beta || pi) from the logged actions."""

import numpy as np
from numpy.typing import NDArray


def kl_k1(log_ratio: NDArray[np.floating]) -> float:
    """The unbiased estimate, in nats.

        k1 = mean(-x),  x = log pi - log beta

    It is KL(beta || pi) and not KL(pi || beta), because the actions are beta's. The truth is never below 0; an
    estimate clearly below it means that the log-probs do not belong to the actions.

    Source: http://joschu.net/blog/kl-approx.html; `kl` of verl

    Args:
        log_ratio: x, in nats, [N].
    """
    if log_ratio.size == 0:
        raise ValueError("there are no samples")
    return float(-np.mean(log_ratio, dtype=np.float64))


def kl_k3(log_ratio: NDArray[np.floating]) -> float | None:
    """The estimate that is never negative, in nats.

        k3 = mean(exp(x) - 1 - x),  x = log pi - log beta

    Unbiased for KL(beta || pi) only as far as mean(exp(x)) is 1; with heavy tails it is ruled by a few samples.
    None beyond float64 (some x above 709).

    Source: http://joschu.net/blog/kl-approx.html; `k3_kl` of verl

    Args:
        log_ratio: x, in nats, [N].
    """
    if log_ratio.size == 0:
        raise ValueError("there are no samples")
    x = log_ratio.astype(np.float64, copy=False)
    # The N of the sum must fit below the edge as well.
    if x.max() + np.log(x.size) > np.log(np.finfo(np.float64).max):
        return None
    # expm1 keeps the digits that exp(x) - 1 loses near 0; rounding there may still fall below 0.
    return float(max(0.0, np.mean(np.expm1(x) - x)))
