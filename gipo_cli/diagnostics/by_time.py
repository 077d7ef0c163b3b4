"""Weights by the place of a step in its episode: where the policy leaves what the log can speak for."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from gipo_cli.diagnostics.episodes import starts_and_lengths
from gipo_cli.diagnostics.ess import ess_fraction

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


def by_time(log_ratio: NDArray[np.floating], episode: NDArray[np.integer]) -> list[Stretch]:
    """Effective share, KL and mean ratio along episodes, in up to PARTS stretches of about equally many steps.

    Stretches, not episodes, have equally many steps: where lengths differ, late ones are of the long episodes alone.

    Args:
        log_ratio: in nats, in the order in which an episode's steps were taken, [N].
        episode: which episode a step is of, [N]; its rows lie together.

    Raises:
        ValueError: there is no sample.
    """
    starts, lengths = starts_and_lengths(episode)
    at = np.arange(log_ratio.size) - np.repeat(starts, lengths)
    # How many steps lie before each place; a place is not cut in two.
    before = np.concatenate([[0], np.cumsum(np.bincount(at))])
    edges = np.unique(np.searchsorted(before, np.linspace(0, log_ratio.size, PARTS + 1)))
    part = np.repeat(np.arange(edges.size - 1, dtype=np.int8), np.diff(edges))[at]
    return [
        _stretch(np.compress(part == number, log_ratio), int(first), int(end) - 1)
        for number, (first, end) in enumerate(pairwise(edges))
    ]


def _stretch(log_ratio: NDArray[np.floating], first: int, last: int) -> Stretch:
    x = log_ratio.astype(np.float64, copy=False)
    with np.errstate(over="ignore"):
        mean = float(np.exp(x).mean())
    return Stretch(first, last, x.size, ess_fraction(x), float(-x.mean()), mean if np.isfinite(mean) else None)
