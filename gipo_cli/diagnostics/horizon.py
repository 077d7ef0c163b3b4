"""How far along an episode products of ratios still say something: what sinks importance sampling over trajectories."""

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gipo_cli.diagnostics.episodes import starts_and_lengths
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


def degeneracy(log_ratio: NDArray[np.floating], episode: NDArray[np.integer]) -> Degeneracy:
    """Kish's effective share of the episodes by the number of steps whose ratios are multiplied.

        ess(t) = (sum_e W_e)^2 / (E sum_e W_e^2),   W_e = exp(sum_{s < min(t, T_e)} log_ratio_s)

    An episode that has ended keeps its weight: leaving it out would judge the long ones alone. An estimator that
    multiplies ratios over a horizon beyond `reach` rests on a handful of episodes, however many there are; one that
    weighs single steps (the surrogate, marginalised estimators) does not.

    Source: the definition; the curse of horizon, Liu et al. 2018, https://arxiv.org/abs/1810.12429

    Args:
        log_ratio: in nats, in the order in which an episode's steps were taken, [N].
        episode: which episode a step is of, [N]; its rows lie together.

    Raises:
        ValueError: there is no sample.
    """
    starts, lengths = starts_and_lengths(episode)
    sums = np.concatenate([[0.0], np.cumsum(log_ratio, dtype=np.float64)])
    longest, episodes = int(lengths.max()), len(starts)

    def share(steps: int) -> float:
        return ess_fraction(sums[starts + np.minimum(steps, lengths)] - sums[starts])

    steps = [t for t in (2**k for k in range(longest.bit_length())) if t < longest] + [longest]
    shares = [share(t) for t in steps]
    needed = max(ENOUGH, FEWEST / episodes)  # of 10 episodes one is a tenth, and proves nothing
    enough = [t for t, _ in itertools.takewhile(lambda pair: pair[1] >= needed, zip(steps, shares, strict=True))]
    return Degeneracy(episodes, steps, shares, max(enough, default=0))
