"""Two estimates of KL(beta || pi) from the logged actions."""

import numpy as np
from numpy.typing import NDArray

from gipo_cli.diagnostics.columns import Column, summed
from gipo_cli.diagnostics.moments import Moments


def kl_k1(log_ratio: Column) -> float:
    """The unbiased estimate, in nats.

        k1 = mean(-x),  x = log pi - log beta

    It is KL(beta || pi) and not KL(pi || beta), because the actions are beta's. The truth is never below 0; an
    estimate clearly below it means that the log-probs do not belong to the actions.

    Source: http://joschu.net/blog/kl-approx.html; `kl` of verl

    Args:
        log_ratio: x, in nats, [N].
    """
    return -summed(Moments(), log_ratio).mean()


def kl_k3(log_ratio: Column) -> float | None:
    """The estimate that is never negative, in nats.

        k3 = mean(exp(x) - 1 - x),  x = log pi - log beta

    Unbiased for KL(beta || pi) only as far as mean(exp(x)) is 1; with heavy tails it is ruled by a few samples.
    None beyond float64 (some x above 709).

    Source: http://joschu.net/blog/kl-approx.html; `k3_kl` of verl

    Args:
        log_ratio: x, in nats, [N].
    """
    return summed(K3Sum(), log_ratio).value()


class K3Sum:
    """The sum of `kl_k3` over rows that come a block at a time."""

    def __init__(self) -> None:
        self.size, self.largest, self.total = 0, -np.inf, 0.0

    def add(self, log_ratio: NDArray[np.float64]) -> None:
        """Add rows, [n], n at least 1."""
        self.size += log_ratio.size
        self.largest = max(self.largest, float(log_ratio.max()))
        with np.errstate(over="ignore"):
            # expm1 keeps the digits that exp(x) - 1 loses near 0; rounding there may still fall below 0.
            self.total += float((np.expm1(log_ratio) - log_ratio).sum())

    def value(self) -> float | None:
        """The mean; none beyond float64.

        Raises:
            ValueError: there is no sample.
        """
        if self.size == 0:
            raise ValueError("there are no samples")
        # The N of the sum must fit below the edge as well.
        if self.largest + np.log(self.size) > np.log(np.finfo(np.float64).max):
            return None
        return max(0.0, self.total / self.size)
