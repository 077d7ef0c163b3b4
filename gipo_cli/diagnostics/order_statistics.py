"""The k-th smallest values of a column, exactly, of columns too large to be sorted or copied as well."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gipo_cli.diagnostics.columns import BLOCK, Column, walk

IN_MEMORY = 1 << 22  # values that are held at once
DIGIT = 16  # bits by which rows are counted in one walk
SIGN, REST = np.uint64(1 << 63), np.int64((1 << 63) - 1)


def order_statistics(column: Column, places: Sequence[int]) -> NDArray[np.float64]:
    """The values at places of the sorted column, counted from 0.

    Of a large column rows are counted by the leading bits of their values, in the order of the values, 16 more bits a
    walk, until those that begin like a wanted one are few enough to be held: mostly after one walk or two, and after
    four nothing is left to tell. It is exact, and neither order nor ties make it slow.

    Args:
        column: finite values, [N].
        places: in [0, N).
    """
    if len(column) <= IN_MEMORY:
        held = np.concatenate([block for (block,) in walk(column)])
        return np.partition(held, sorted({*places}))[[*places]]
    prefixes, within = np.zeros(len(places), np.uint64), np.asarray(places)
    for shift in range(64 - DIGIT, -1, -DIGIT):
        wanted, of = np.unique(prefixes, return_inverse=True)
        counts = _counts(column, wanted, shift)
        ends = counts.cumsum(1)[of]
        digit = np.array([np.searchsorted(each, place, "right") for each, place in zip(ends, within, strict=True)])
        alike = counts[of, digit]
        within = within - (np.take_along_axis(ends, digit[:, None], 1)[:, 0] - alike)
        prefixes = (prefixes << np.uint64(DIGIT)) | digit.astype(np.uint64)
        wanted, first, of = np.unique(prefixes, return_index=True, return_inverse=True)
        sizes = alike[first]
        if sizes.sum() <= IN_MEMORY:
            held = _with_prefixes(column, wanted, shift)
            at = (sizes.cumsum() - sizes)[of] + within
            return np.partition(held, sorted({*at.tolist()}))[at]
    return _value(prefixes)


def quantile(column: Column, levels: Sequence[float]) -> list[float]:
    """Quantiles between the two values that are nearest, as `np.quantile` has them.

    Raises:
        ValueError: there is no sample.
    """
    if len(column) == 0:
        raise ValueError("there are no samples")
    exact = [level * (len(column) - 1) for level in levels]
    below = [int(place) for place in exact]
    found = order_statistics(column, [*below, *(min(place + 1, len(column) - 1) for place in below)])
    pairs = zip(found[: len(below)], found[len(below) :], exact, below, strict=True)
    return [float(np.quantile([low, high], place - start)) for low, high, place, start in pairs]


class Largest:
    """The largest values among rows that come a block at a time."""

    def __init__(self, count: int) -> None:
        self.count, self.held = count, [np.empty(0)]
        self.size, self.floor = 0, -np.inf

    def add(self, block: NDArray[np.float64]) -> None:
        """Look at some rows."""
        if self.floor > -np.inf:
            block = np.compress(block > self.floor, block)
        self.held.append(block)
        self.size += block.size
        if self.size > 2 * max(self.count, BLOCK):
            self.held = [self._largest()]
            self.size, self.floor = self.count, float(self.held[0].min())

    def rising(self) -> NDArray[np.float64]:
        """They, sorted; fewer where there are no more."""
        return np.sort(self._largest())

    def _largest(self) -> NDArray[np.float64]:
        held = np.concatenate(self.held)
        return np.partition(held, -self.count)[-self.count :] if self.count < held.size else held


def _counts(column: Column, prefixes: NDArray[np.uint64], shift: int) -> NDArray[np.int64]:
    """How many values go on with each digit after each of the prefixes, [P, 2^DIGIT]; sorted ones give sorted rows."""
    counts = np.zeros((len(prefixes), 1 << DIGIT), np.int64)
    for (block,) in walk(column):
        keys = _keys(block) >> np.uint64(shift)
        for row, prefix in enumerate(prefixes):
            alike = keys if len(prefixes) == 1 and shift == 64 - DIGIT else keys[keys >> np.uint64(DIGIT) == prefix]
            digits = (alike & np.uint64((1 << DIGIT) - 1)).view(np.int64)
            counts[row] += np.bincount(digits, minlength=1 << DIGIT)
    return counts


def _with_prefixes(column: Column, prefixes: NDArray[np.uint64], shift: int) -> NDArray[np.float64]:
    """The values that begin with one of some prefixes."""
    found = []
    for (block,) in walk(column):
        keys = _keys(block) >> np.uint64(shift)
        found.append(np.compress(np.isin(keys, prefixes), block))
    return np.concatenate(found)


def _keys(values: NDArray[np.float64]) -> NDArray[np.uint64]:
    """Whole numbers in the order of the values: the bits of a negative one are turned."""
    bits = values.view(np.int64)
    return (bits ^ ((bits >> 63) & REST)).view(np.uint64) ^ SIGN


def _value(keys: NDArray[np.uint64]) -> NDArray[np.float64]:
    bits = (keys ^ SIGN).view(np.int64)
    return (bits ^ ((bits >> 63) & REST)).view(np.float64)
