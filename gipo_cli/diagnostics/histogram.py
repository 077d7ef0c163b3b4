"""Histograms that can be laid beside each other."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gipo_cli.diagnostics.columns import Column, walk
from gipo_cli.diagnostics.order_statistics import Largest


def shared_edges(columns: Sequence[Column], bins: int, tail: float = 0.005) -> NDArray[np.float64]:
    """Equal bins over the range that the columns have in common use.

    The share `tail` of each column at either end may lie outside, so that one wild weight does not flatten the rest;
    `counts` puts those into the end bins.

    Args:
        columns: finite values, each [N].
        bins: how many.
        tail: share of a column that may lie outside, at each end.

    Returns:
        Edges, rising, [bins + 1].
    """
    ends = [_inner_ends(column, tail) for column in columns]
    low, high = min(low for low, _ in ends), max(high for _, high in ends)
    # Constant columns, or ones that differ by rounding alone, get a bin's width around them.
    if high - low < 1e-6 * max(1.0, abs(low), abs(high)):
        margin = 0.5 * max(1.0, 1e-3 * abs(low))
        low, high = low - margin, high + margin
    return np.linspace(low, high, bins + 1)


def _inner_ends(column: Column, tail: float) -> tuple[float, float]:
    """The values with a share `tail` of the column, rounded down, below the one and above the other."""
    beyond = int(tail * (len(column) - 1))
    least, largest = Largest(beyond + 1), Largest(beyond + 1)
    for (block,) in walk(column):
        least.add(-block)
        largest.add(block)
    return -float(least.rising()[0]), float(largest.rising()[0])


def counts(column: Column, edges: NDArray[np.floating]) -> NDArray[np.int64]:
    """How many values fall into each bin, [bins]; the end bins take what lies beyond, so the sum is N.

    Args:
        column: [N].
        edges: of equal bins, as `shared_edges` gives them: a value's bin is then computed and not searched for.
    """
    low, high, found = edges[0], edges[-1], np.zeros(edges.size - 1, np.int64)
    for (block,) in walk(column):
        found += np.histogram(np.clip(block, low, high), edges.size - 1, (low, high))[0]
    return found
