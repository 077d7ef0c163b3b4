"""How what was looked at of a mapped file leaves memory again.

A page of a mapped file counts as memory of the process from the first look at it until the kernel wants the room. On
an idle machine that is never: one pass over a column of 40 GB shows a process of 40 GB, which a limit of a container
or of a batch system kills. So whoever walks through columns calls `trim` now and then.
"""

import mmap
import os
from collections.abc import Iterator
from contextlib import suppress
from typing import TypeVar
from weakref import WeakSet

import numpy as np

BLOCK = 1 << 16  # rows looked at together, so that columns larger than memory stay on the disk
# Rows, each in a place of its own, that are looked at together: with each Linux 6.18 maps up to 2 MiB around it.
SCATTERED = 2**7
RESIDENT = 3 * 2**27  # bytes of mapped pages that stay between two looks


T = TypeVar("T")


class _Watch:
    """The maps that gipo made, and how much of the process's memory was mapped files when they were last emptied."""

    def __init__(self) -> None:
        self.maps: WeakSet[mmap.mmap] = WeakSet()
        self.least = 0  # the libraries' own pages, mostly

    def trim(self) -> None:
        now = _mapped_bytes()
        self.least = min(self.least or now, now)
        if now - self.least <= RESIDENT:
            return
        for each in list(self.maps):
            with suppress(OSError, ValueError):  # locked pages stay, and one that was closed has none
                each.madvise(mmap.MADV_DONTNEED)
        self.least = _mapped_bytes()


_WATCH = _Watch()


def watched(column: np.memmap) -> np.memmap:
    """The same column, from now on among those that `trim` empties."""
    if isinstance(column.base, mmap.mmap):
        _WATCH.maps.add(column.base)
    return column


def trim() -> None:
    """Give the pages of mapped columns back once more than RESIDENT bytes of them have gathered; some microseconds.

    No number changes: pages that were written to are the kernel's to bring to the disk, and those that are looked at
    again come back, from its cache where the machine has the room. Where a system does not say how much is mapped, or
    cannot take pages back, nothing happens: it is the kernel's then.
    """
    if _WATCH.maps and hasattr(mmap, "MADV_DONTNEED"):
        _WATCH.trim()


def is_anything_mapped() -> bool:
    """Whether there is a column for `trim` to empty."""
    return len(_WATCH.maps) > 0


def trimmed(part: T) -> T:
    """What was made of some rows; `trim` has been called since."""
    trim()
    return part


def blocks(column: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """A column a block of rows at a time, with the number of its first row; trimmed after each."""
    for start in range(0, len(column), BLOCK):
        yield start, column[start : start + BLOCK]
        trim()


class Lent:
    """A column that gives its rows a slice at a time, for whoever knows of no maps; trimmed before each."""

    def __init__(self, column: np.ndarray) -> None:
        self.column = column

    def __len__(self) -> int:
        return len(self.column)

    def __getitem__(self, rows: slice) -> np.ndarray:
        trim()
        return self.column[rows]


def rows_of(column: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Some rows of a column, in memory; trimmed on the way."""
    found = np.empty((len(rows), *column.shape[1:]), column.dtype)
    for start in range(0, len(rows), SCATTERED):
        found[start : start + SCATTERED] = column[rows[start : start + SCATTERED]]
        trim()
    return found


def _mapped_bytes() -> int:
    """Bytes of files that are in this process's memory; 0 where there is no /proc."""
    try:
        with open("/proc/self/statm", "rb", buffering=0) as file:
            return int(file.read(256).split()[2]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0
