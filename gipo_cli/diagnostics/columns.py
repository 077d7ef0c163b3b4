"""Columns of steps looked at a block of rows at a time, so that none of them has to be in memory whole.

A statistic is then an object that takes blocks (`add`) and is asked once at the end. Of a column of one block it gives
what numpy gives of the whole column, to the last bit; of more blocks the same to rounding.
"""

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

BLOCK = 1 << 16  # rows; a few columns of so many stay in a processor's cache


class Sliced(Protocol):
    """A column that gives its rows a slice at a time: an array does, and so may what keeps them elsewhere."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice, /) -> Any: ...


class Walked(Protocol):
    """A column of which nothing is kept: its blocks are made when they are asked for."""

    def __len__(self) -> int: ...

    def blocks(self) -> Iterator[NDArray[Any]]:
        """One for every BLOCK rows of the columns that it is made of; it may be empty."""
        ...


Column = Sliced | Walked
Sums = TypeVar("Sums", bound=Any)  # has a method `add` that takes a block of each column


class Computed:
    """What a function makes of the rows of columns, elementwise."""

    def __init__(self, function: Callable[..., NDArray[Any]], *columns: Column) -> None:
        self.function, self.columns = function, columns

    def __len__(self) -> int:
        return len(self.columns[0])

    def blocks(self) -> Iterator[NDArray[Any]]:
        """Computed anew at every walk."""
        for found in zip(*map(_blocks, self.columns), strict=True):
            yield self.function(*found)


class Rows:
    """The rows where a mask, [N], holds."""

    def __init__(self, mask: Column) -> None:
        self.mask = mask

    @cached_property
    def count(self) -> int:
        """How many they are."""
        return sum(int(np.count_nonzero(block)) for block in _blocks(self.mask))

    def of(self, column: Column) -> "Part":
        """These rows of a column, found anew at every walk."""
        return Part(column, self)

    def taken(self, column: Column) -> Column:
        """These rows of a column, as an array where it is one."""
        if isinstance(column, np.ndarray) and isinstance(self.mask, np.ndarray):
            return np.compress(self.mask, column, axis=0)
        return self.of(column)


class Part:
    """Some rows of a column, [N] or [N, A]."""

    def __init__(self, column: Column, rows: Rows) -> None:
        self.column, self.rows = column, rows

    def __len__(self) -> int:
        return self.rows.count

    def blocks(self) -> Iterator[NDArray[Any]]:
        """Those rows of each block of the column."""
        for block, mask in zip(_blocks(self.column), _blocks(self.rows.mask), strict=True):
            yield np.compress(mask, block, axis=0)  # about six times as fast as block[mask]


def walk(*columns: Column) -> Iterator[tuple[NDArray[Any], ...]]:
    """The same rows of columns of one length, a block at a time, none of them empty; floating point as float64."""
    for found in zip(*map(_blocks, columns), strict=True):
        if len(found[0]):
            yield found


def summed(sums: Sums, *columns: Column) -> Sums:
    """The same sums, to which `add` has added all rows of columns."""
    for blocks in walk(*columns):
        sums.add(*blocks)
    return sums


class Share:
    """The share of the rows of which something holds."""

    def __init__(self, holds: Callable[..., NDArray[np.bool_]]) -> None:
        self.holds, self.rows, self.count = holds, 0, 0

    def add(self, *blocks: NDArray[Any]) -> None:
        """Ask of some rows."""
        self.rows += len(blocks[0])
        self.count += np.count_nonzero(self.holds(*blocks))

    def value(self) -> float:
        """Between 0 and 1.

        Raises:
            ValueError: there is no sample.
        """
        if self.rows == 0:
            raise ValueError("there are no samples")
        return self.count / self.rows


def _blocks(column: Column) -> Iterator[NDArray[Any]]:
    made = getattr(column, "blocks", None)
    return made() if made else _slices(column)  # pyright: ignore[reportArgumentType]


def _slices(column: Sliced) -> Iterator[NDArray[Any]]:
    for start in range(0, len(column), BLOCK):
        block = column[start : start + BLOCK]
        yield block.astype(np.float64, copy=False) if block.dtype.kind == "f" else block
