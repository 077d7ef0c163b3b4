"""Where episodes begin in columns of steps."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gipo_cli.diagnostics.columns import Column, walk


def starts_and_lengths(episode: Column) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """First row and number of steps of every episode.

    Args:
        episode: which episode a step is of, [N]; its rows lie together.

    Raises:
        ValueError: there is no sample.
    """
    found = runs_of(episode)
    return found.starts, found.lengths


def numbered(episode: NDArray[np.integer]) -> NDArray[np.intp]:
    """Episodes numbered from 0 without gaps, [N]; what `np.unique` calls the inverse, but only runs of rows are sorted.

    Args:
        episode: which episode a step is of, [N]; its rows may lie anywhere.

    Raises:
        ValueError: there is no sample.
    """
    runs = runs_of(episode)
    return np.repeat(runs.numbers, runs.lengths)


@dataclass(frozen=True)
class Runs:
    """R runs of rows, each of one episode; where an episode's rows lie together, they are the episodes. In memory."""

    starts: NDArray[np.intp]  # the first row of each, [R]
    lengths: NDArray[np.intp]  # [R]
    episode: NDArray[np.integer]  # [R]

    @cached_property
    def numbers(self) -> NDArray[np.intp]:
        """The episode of each run, numbered from 0 without gaps, [R]."""
        return np.unique(self.episode, return_inverse=True)[1]

    def by_episode(self, of_run: NDArray[Any]) -> NDArray[Any]:
        """Sums over the runs of each episode, [E]."""
        return np.bincount(self.numbers, of_run)

    def walk(self, *columns: Column) -> Iterator[tuple["Piece", tuple[NDArray[Any], ...]]]:
        """The columns a block at a time, with what the block has of which runs."""
        begin = 0
        for blocks in walk(*columns):
            end = begin + len(blocks[0])
            first = int(np.searchsorted(self.starts, begin, "right")) - 1
            runs = slice(first, int(np.searchsorted(self.starts, end)))
            yield Piece(runs, self.starts[runs] - begin, end - begin), blocks
            begin = end


@dataclass(frozen=True)
class Piece:
    """Rows that lie together, and the runs that they are of; the first and the last may go on beyond them."""

    runs: slice
    begins: NDArray[np.intp]  # where each run begins, counted from the first of these rows; below 0 where before it
    size: int

    @cached_property
    def firsts(self) -> NDArray[np.intp]:
        """The first row of each run among these."""
        return np.maximum(self.begins, 0)

    def at_rows(self, of_run: NDArray[Any]) -> NDArray[Any]:
        """What each row's run has, [n], of what each of the piece's runs has."""
        return np.repeat(of_run, np.diff(self.firsts, append=self.size))

    def add(self, sums: NDArray[np.float64], value: NDArray[np.float64]) -> None:
        """Add to the sums of all runs, [R], those of the values of these rows, [n]."""
        sums[self.runs] += np.add.reduceat(value, self.firsts)


def runs_of(episode: Column | Runs) -> Runs:
    """The runs of rows of one episode.

    Args:
        episode: which episode a step is of, [N]; or its runs, where they are known.

    Raises:
        ValueError: there is no sample.
    """
    if isinstance(episode, Runs):
        return episode
    starts, numbers, row, last = [], [], 0, None
    for (block,) in walk(episode):
        new = np.flatnonzero(np.append(block[0] != last, block[1:] != block[:-1]))
        starts.append(new + row)
        numbers.append(block[new])
        row, last = row + block.size, block[-1]
    if row == 0:
        raise ValueError("there are no samples")
    found = np.concatenate(starts)
    return Runs(found, np.diff(found, append=row), np.concatenate(numbers))
