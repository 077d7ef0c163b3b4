"""Weights by dimension of the action: which of them the policy has moved."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gipo_cli.diagnostics.ess import ess_fraction


@dataclass(frozen=True)
class Dimension:
    """The ratios of one dimension of the action."""

    dimension: int
    ess_fraction: float
    kl: float  # mean of log beta - log pi, in nats; they sum to that of the action
    std: float  # of the log ratio, in nats


def by_dimension(parts: NDArray[np.floating]) -> list[Dimension]:
    """Effective share, KL and spread of the log ratio of each dimension; the joint log ratio is their sum.

    A single dimension that has left the log sinks the effective share of the whole action, and this shows which.

    Source: the definitions of `ess` and `kl`, dimension by dimension

    Args:
        parts: log ratio of each dimension, in nats, [N, A].

    Raises:
        ValueError: there is no sample.
    """
    if parts.size == 0:
        raise ValueError("there are no samples")
    columns = (np.ascontiguousarray(column, np.float64) for column in parts.T)
    return [Dimension(d, ess_fraction(x), float(-x.mean()), float(x.std())) for d, x in enumerate(columns)]
