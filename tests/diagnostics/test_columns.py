"""Columns a block of rows at a time, and the values at places of the sorted column."""

import numpy as np
import pytest

from gipo_cli.diagnostics.columns import Computed, Rows, walk
from gipo_cli.diagnostics.order_statistics import Largest, order_statistics, quantile


def test_rows_of_a_walk_are_those_of_numpy():
    x, mask = np.random.default_rng(0).normal(size=(1000, 2)).astype(np.float32), np.arange(1000) % 400 < 3
    rows = Rows(mask)
    part = Computed(np.square, rows.of(x))
    found = [block for (block,) in walk(part)]
    np.testing.assert_array_equal(np.concatenate(found), np.square(x[mask].astype(np.float64)))
    assert all(len(block) for block in found) and len(part) == rows.count == mask.sum()
    within = Rows(rows.of(np.arange(1000) % 2 == 0)).of(rows.of(x))  # some rows of some rows
    np.testing.assert_array_equal(np.concatenate([b for (b,) in walk(within)]), x[mask & (np.arange(1000) % 2 == 0)])


VALUES = {
    "normal": np.random.default_rng(0).normal(size=3000),
    "one value": np.full(3000, -0.3),
    "two values": np.repeat([1.5, -2.0], 1500),
    "zeros of either sign": np.tile([0.0, -0.0, 1e-300, -1e-300], 750),
    "extremes": np.tile([-1e308, 1e308, 5e-324, -1.0, 3.0], 600),
    "neighbours": 1 + np.arange(3000) * np.finfo(float).eps,  # told apart by the last bits alone
    "sorted": np.arange(3000.0),
    "float32": np.random.default_rng(1).normal(size=3000).astype(np.float32),
}


@pytest.mark.parametrize("values", VALUES.values(), ids=VALUES)
def test_order_statistics_are_those_of_a_sorted_column(values):
    rising = np.sort(values.astype(np.float64))
    places = [2999, 0, 1, 700, 1499, 1500, 700, 2998]
    np.testing.assert_array_equal(order_statistics(values, places), rising[places])
    for count in (1, 40, 2999, 5000):
        largest = Largest(count)
        for (block,) in walk(values):
            largest.add(block)
        np.testing.assert_array_equal(largest.rising(), rising[-count:])
    levels = [0.0, 0.005, 0.3, 0.95, 1.0]
    np.testing.assert_array_equal(quantile(values, levels), np.quantile(values.astype(np.float64), levels))


def test_a_quantile_of_nothing_is_refused():
    with pytest.raises(ValueError, match="no samples"):
        quantile(np.empty(0), [0.5])
