"""Bounds of the trust-weighted surrogate that hold at any number of episodes, because the weights are bounded."""

import math
from dataclasses import dataclass

import numpy as np

from gipo_cli.diagnostics.columns import Column
from gipo_cli.diagnostics.episodes import Runs, runs_of

LARGEST_ADVANTAGE = 5.0  # standard deviations; what lies beyond is cut, or nothing would bound the advantage


@dataclass(frozen=True)
class Bounds:
    """The mean over episodes of what the objective raises, and two-sided bounds of its expectation."""

    mean: float  # in standard deviations of the advantage
    episodes: int
    range: float  # within which the value of an episode lies for certain
    hoeffding: tuple[float, float]
    empirical_bernstein: tuple[float, float] | None  # none for one episode, which has no variance
    level: float


def surrogate_bounds(
    weight: Column,
    advantage: Column,
    episode: Column | Runs,
    largest_weight: float,
    level: float = 0.95,
) -> Bounds:
    """Bounds of E[X], X the mean of weight * advantage over an episode; episodes are independent, its steps are not.

        |X| <= B = largest_weight * LARGEST_ADVANTAGE,  range R = 2 B,  d = 1 - level
        Hoeffding            mean +- R sqrt(log(2 / d) / (2 E))
        empirical Bernstein  mean +- [sqrt(2 V log(4 / d) / E) + 7 R log(4 / d) / (3 (E - 1))]

    V is the variance over episodes (ddof = 1). No clip of the ratio is behind it: GIPO's weight is at most
    exp(sigma^2 / 2), at any ratio. The bounds hold for any distribution and are wide for it: where they are above 0,
    nothing is left to chance; where they are not, a bootstrap may still know. An episode counts once, whatever its
    length. It is the surrogate on the states of the log, and not the return.

    Source: Hoeffding 1963; Maurer and Pontil 2009, https://arxiv.org/abs/0907.3740, theorem 4, on both sides

    Args:
        weight: of each step, at least 0, [N].
        advantage: in standard deviations, [N].
        episode: [N], or its runs.
        largest_weight: that the objective can give; exp(sigma^2 / 2) of GIPO.
        level: of each pair of bounds.

    Raises:
        ValueError: there is no sample, or a weight is above the largest.
    """
    runs = runs_of(episode)
    sums = np.zeros(len(runs.starts))
    for piece, (w, a) in runs.walk(weight, advantage):
        if w.max() > largest_weight * (1 + 1e-6):
            raise ValueError(f"a weight is {w.max()}, above the largest, {largest_weight}")
        piece.add(sums, w * np.clip(a, -LARGEST_ADVANTAGE, LARGEST_ADVANTAGE))
    of_episode = runs.by_episode(sums) / runs.by_episode(runs.lengths)
    episodes, width, missed = len(of_episode), 2 * largest_weight * LARGEST_ADVANTAGE, 1 - level
    mean = float(of_episode.mean())
    half = width * math.sqrt(math.log(2 / missed) / (2 * episodes))
    bernstein = None
    if episodes > 1:
        log = math.log(4 / missed)
        spread = math.sqrt(2 * float(of_episode.var(ddof=1)) * log / episodes) + 7 * width * log / (3 * (episodes - 1))
        bernstein = (mean - spread, mean + spread)
    return Bounds(mean, episodes, width, (mean - half, mean + half), bernstein, level)
