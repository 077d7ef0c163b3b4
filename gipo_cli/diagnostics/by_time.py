"""Weights by the place of a step in its episode: where the policy leaves what the log can speak for."""

from bisect import bisect_left
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from gipo_cli.diagnostics.columns import Column
from gipo_cli.diagnostics.episodes import Runs, runs_of
from gipo_cli.diagnostics.weight_sums import WeightSums

PARTS = 10  # stretches of about equally many steps


@dataclass(frozen=True)
class Stretch:
    """Steps `first` to `last` of their episodes, counted from 0."""

    first: int
    last: int
    transitions: int
    ess_fraction: float
    kl: float  # mean of log beta - log pi, in nats
    mean_ratio: float | None  # none beyond float64


def by_time(log_ratio: Column, episode: Column | Runs) -> list[Stretch]:
    """Effective share, KL and mean ratio along episodes, in up to PARTS stretches of about equally many steps.

    Stretches, not episodes, have equally many steps: where lengths differ, late ones are of the long episodes alone.

    Args:
        log_ratio: in nats, in the order in which an episode's steps were taken, [N].
        episode: which episode a step is of, [N], its rows lie together; or its runs.

    Raises:
        ValueError: there is no sample.
    """
    runs = runs_of(episode)
    edges = _edges(runs.lengths)
    sums = [_StretchSums() for _ in edges[1:]]
    for piece, (x,) in runs.walk(log_ratio):
        at = np.arange(piece.size) - piece.at_rows(piece.begins)
        part = np.searchsorted(edges[1:-1], at, "right").astype(np.int8)
        for number, each in enumerate(sums):
            each.add(np.compress(part == number, x))
    return [each.found(first, end - 1) for each, (first, end) in zip(sums, pairwise(edges), strict=True)]


def _edges(lengths: NDArray[np.intp]) -> list[int]:
    """The places in an episode where stretches begin, rising, and the longest length."""
    rows, longest = int(lengths.sum()), int(lengths.max())

    def before(place: int) -> int:  # steps before a place, of all episodes; a place is not cut in two
        return int(np.minimum(lengths, place).sum())

    shares = np.linspace(0, rows, PARTS + 1)
    return sorted({bisect_left(range(longest), share, key=before) for share in shares})


class _StretchSums:
    """The sums of one stretch over rows that come a block at a time."""

    def __init__(self) -> None:
        self.weights, self.total = WeightSums(), 0.0

    def add(self, log_ratio: NDArray[np.float64]) -> None:
        if log_ratio.size:
            self.weights.add(log_ratio)
            self.total += float(log_ratio.sum())

    def found(self, first: int, last: int) -> Stretch:
        sums, rows = self.weights, self.weights.size
        return Stretch(first, last, rows, sums.ess_fraction(), -self.total / rows, sums.moments()["mean"])
