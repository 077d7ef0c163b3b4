"""How far along an episode products of ratios still say something: what sinks importance sampling over trajectories."""

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gipo_cli.diagnostics.columns import Column
from gipo_cli.diagnostics.episodes import Runs, runs_of
from gipo_cli.diagnostics.ess import ess_fraction

ENOUGH = 0.1  # share of the episodes that have to count; ours, as for steps
FEWEST = 5  # and so many of them at least; ours, as for a bootstrap


@dataclass(frozen=True)
class Degeneracy:
    """Effective share of E episodes when each is weighted by the product of its first t ratios."""

    episodes: int  # E
    steps: list[int]  # t: 1, 2, 4, ... and the longest episode
    ess_fraction: list[float]  # between 1 / E and 1
    reach: int  # the largest of these t up to which ENOUGH of the episodes count, and FEWEST of them; 0 where none is


def degeneracy(log_ratio: Column, episode: Column | Runs) -> Degeneracy:
    """Kish's effective share of the episodes by the number of steps whose ratios are multiplied.

        ess(t) = (sum_e W_e)^2 / (E sum_e W_e^2),   W_e = exp(sum_{s < min(t, T_e)} log_ratio_s)

    An episode that has ended keeps its weight: leaving it out would judge the long ones alone. An estimator that
    multiplies ratios over a horizon beyond `reach` rests on a handful of episodes, however many there are; one that
    weighs single steps (the surrogate, marginalised estimators) does not.

    Source: the definition; the curse of horizon, Liu et al. 2018, https://arxiv.org/abs/1810.12429

    Args:
        log_ratio: in nats, in the order in which an episode's steps were taken, [N].
        episode: which episode a step is of, [N], its rows lie together; or its runs.

    Raises:
        ValueError: there is no sample.
    """
    runs = runs_of(episode)
    longest, episodes = int(runs.lengths.max()), len(runs.starts)
    steps = [t for t in (2**k for k in range(longest.bit_length())) if t < longest] + [longest]
    shares = [ess_fraction(sums) for sums in _sums(log_ratio, runs, steps)]
    needed = max(ENOUGH, FEWEST / episodes)  # of 10 episodes one is a tenth, and proves nothing
    enough = [t for t, _ in itertools.takewhile(lambda pair: pair[1] >= needed, zip(steps, shares, strict=True))]
    return Degeneracy(episodes, steps, shares, max(enough, default=0))


def _sums(log_ratio: Column, runs: Runs, steps: list[int]) -> NDArray[np.float64]:
    """Sums of the first t log ratios of each episode, [T, E], for each t of some steps."""
    before, upto = np.empty(len(runs.starts)), np.empty((len(steps), len(runs.starts)))
    carried = 0.0
    for piece, (x,) in runs.walk(log_ratio):
        sums = np.append(carried, x).cumsum()  # of all rows up to each
        carried = float(sums[-1])
        for places, found in [(0, before), *zip(steps, upto, strict=True)]:
            ends = piece.begins + np.minimum(places, runs.lengths[piece.runs])
            here = (ends >= 0) & (ends <= piece.size)
            found[piece.runs][here] = sums[ends[here]]
    return upto - before
