"""Weights by dimension of the action: which of them the policy has moved."""

from dataclasses import dataclass

import numpy as np

from gipo_cli.diagnostics.columns import Column, walk
from gipo_cli.diagnostics.moments import Moments
from gipo_cli.diagnostics.weight_sums import WeightSums


@dataclass(frozen=True)
class Dimension:
    """The ratios of one dimension of the action."""

    dimension: int
    ess_fraction: float
    kl: float  # mean of log beta - log pi, in nats; they sum to that of the action
    std: float  # of the log ratio, in nats


def by_dimension(parts: Column) -> list[Dimension]:
    """Effective share, KL and spread of the log ratio of each dimension; the joint log ratio is their sum.

    A single dimension that has left the log sinks the effective share of the whole action, and this shows which.

    Source: the definitions of `ess` and `kl`, dimension by dimension

    Args:
        parts: log ratio of each dimension, in nats, [N, A].

    Raises:
        ValueError: there is no sample.
    """
    found: list[tuple[WeightSums, Moments]] = []
    for (block,) in walk(parts):
        found = found or [(WeightSums(), Moments()) for _ in block.T]
        for column, (weights, moments) in zip(block.T, found, strict=True):
            x = np.ascontiguousarray(column)
            weights.add(x)
            moments.add(x)
    if not found:
        raise ValueError("there are no samples")
    return [Dimension(d, w.ess_fraction(), -m.mean(), m.std()) for d, (w, m) in enumerate(found)]
