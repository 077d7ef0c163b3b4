"""Weights by episode: whether a few of them decide."""

from dataclasses import dataclass

import numpy as np

from gipo_cli.diagnostics.columns import Column
from gipo_cli.diagnostics.episodes import Runs, runs_of
from gipo_cli.diagnostics.ess import ess_fraction

SHOWN = 5  # of the heaviest


@dataclass(frozen=True)
class Episode:
    """One of the heaviest episodes."""

    episode: int
    transitions: int
    transition_share: float
    weight_share: float  # of the raw ratios of all steps
    kl: float  # mean of log beta - log pi, in nats


@dataclass(frozen=True)
class Episodes:
    """How the raw ratios are spread over E episodes."""

    ess_fraction: float  # Kish's, of the sums of the ratios of each; between 1 / E and 1
    ess_fraction_equal: float  # the same with all ratios 1: what unequal lengths alone do
    heaviest: list[Episode]


def by_episode(log_ratio: Column, episode: Column | Runs) -> Episodes:
    """Kish's effective share of episodes, each weighted by the sum of its steps' ratios, and the heaviest ones.

        ess = (sum_e S_e)^2 / (E sum_e S_e^2),   S_e = sum_t exp(log_ratio_et)

    Sums, not products: an estimate that weighs single steps draws on an episode in proportion to S_e. Long episodes
    are heavy whatever the policy does, which is what `ess_fraction_equal` is for.

    Source: Kish 1965; the episode as the unit, since steps are dependent

    Args:
        log_ratio: in nats, [N].
        episode: which episode a step is of, [N], its rows lie together; or its runs.

    Raises:
        ValueError: there is no sample.
    """
    runs = runs_of(episode)
    lengths, largest = runs.lengths, np.full(len(runs.starts), -np.inf)
    ratios, log_ratios = np.zeros((2, len(runs.starts)))
    for piece, (x,) in runs.walk(log_ratio):
        np.maximum(largest[piece.runs], np.maximum.reduceat(x, piece.firsts), out=largest[piece.runs])
        piece.add(log_ratios, x)
    for piece, (x,) in runs.walk(log_ratio):
        # Each episode's largest ratio is taken out, so that none of its ratios overflows.
        piece.add(ratios, np.exp(x - piece.at_rows(largest[piece.runs])))
    log_sum = np.log(ratios) + largest
    share, kl = np.exp(log_sum - np.logaddexp.reduce(log_sum)), -log_ratios / lengths
    heaviest = [
        Episode(
            int(runs.episode[e]), int(lengths[e]), float(lengths[e] / len(log_ratio)), float(share[e]), float(kl[e])
        )
        for e in np.argsort(-share, kind="stable")[:SHOWN]
    ]
    return Episodes(ess_fraction(log_sum), ess_fraction(np.log(lengths)), heaviest)
