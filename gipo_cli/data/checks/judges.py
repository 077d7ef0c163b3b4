"""Two judges of log-probs: the behaviour policy where a log carries it, a clone of it where not.

The clone q rests on an identity that holds for every density q, however badly it fits, at every state:

    E_beta[q(a|s) / beta(a|s)] = 1

so mean exp(log q - y) over steps that q has not seen is 1 if y = log beta, up to its standard error. Several densities
are tried, the clone at several temperatures, over states where it is sure, unsure and in between: over all states
together, mistakes of both signs can cancel.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from gipo_cli.data.checks.gaussian_law import Law, laws_of
from gipo_cli.data.checks.reference import Reference, clone_of
from gipo_cli.data.checks.sample import Sample
from gipo_cli.data.trajectories import Trajectories

# Of a known policy: recomputed log-probs agree to 1e-4 nats in float32 where nothing saturates.
CLOSE = 0.01  # nats
ALL_CLOSE, MOSTLY_CLOSE = 0.99, 0.9  # shares of rows

# Of a clone, in nats of the log of a mean ratio that has to be 0. Measured on logs with right log-probs: never above
# 0.1; below, down to -0.4 for one narrow squashed policy and to -1.0 for thirteen of them in one log, where few rows
# carry the mean. Wrong ones: above 0.3, or below -1.2 wherever many rows carry the mean.
SLACK = 0.2
FEW_ROWS = 0.3  # share of rows carrying a mean, below which it is too low by nature: its largest terms were not seen
LOW_BY = 0.3  # nats for each factor e below that share
HIGH_BY = 0.8  # nats that noise may take a mean above 1, however large its standard error says it is
HANDFUL, HIGH_BY_HANDFUL = 10, 3.0  # a mean carried by fewer rows is chance: by Markov, above e^3 once in 20 times
# Hill's index of the largest tenth of the ratios; from 1/2 on their variance is infinite. Measured: 0.74 to 1.3 where
# right log-probs of a very narrow policy gave means of e^-1 to e^-9, its clone being many times wider.
HEAVY_TAIL, TAIL = 0.5, 0.1
CONTINUOUS_TESTS, DISCRETE_TESTS = (0.5, 0.7, 1.0), (0.5, 1.0, 2.0, 1e9)
SAME_SPREAD = 0.05  # nats of entropy between states below which the policy draws alike everywhere


@dataclass(frozen=True)
class Fit:
    """How well values pass for the log-probs: surely, perhaps, hardly (by noise), and how far off they are, in nats."""

    well: bool
    perhaps: bool
    hardly: bool
    distance: float  # of what is farthest off
    score: float  # of all together, noise included; the lower, the better
    too_high: bool = True  # whether a mean is above 1, which no clone however bad makes of right log-probs
    decided: bool = True  # not so where what is off may be off for rows that carry a mean and were not among those seen


class Judge(Protocol):
    """Holds log-probs against a reference."""

    reference: Reference

    def fit(self, values: np.ndarray) -> Fit:
        """Whether values [n] may be the log-probs; nan where a row has none."""
        ...

    def laws(self, columns: list[np.ndarray]) -> list[Law | None]:
        """How each column of values varies given the state, where the reference alone does not settle it."""
        ...


class KnownPolicy:
    """The behaviour policy that the log carries: right log-probs are its own, row by row."""

    def __init__(self, reference: Reference, sample: Sample) -> None:
        self.reference, self.sample = reference, sample
        self.exact = reference.log_prob()
        self.tolerance = CLOSE + reference.rounding()

    def fit(self, values: np.ndarray) -> Fit:
        """Whether almost all rows agree; the distance is the median difference."""
        rows = self._rows(values)
        share = float(self.agree(values).mean()) if rows.any() else 0.0
        enough = ALL_CLOSE if values is self.sample.values else MOSTLY_CLOSE
        median = float(np.median(np.abs(values - self.exact)[rows])) if rows.any() else np.inf
        return Fit(share >= enough, share >= enough, share >= enough, median, median)

    def laws(self, columns: list[np.ndarray]) -> list[Law | None]:
        """None: row by row, the policy says more."""
        return [None] * len(columns)

    def agree(self, values: np.ndarray) -> np.ndarray:
        """Which of the rows that can be compared agree with the policy within rounding."""
        rows = self._rows(values)
        return np.abs(values - self.exact)[rows] <= self.tolerance[rows]

    def divides(self, values: np.ndarray) -> bool:
        """Whether nearly every episode agrees as a whole or not at all, and there are both."""
        episode = self.sample.episode[self._rows(values)]
        counts = np.bincount(episode)
        share = np.bincount(episode, self.agree(values))[counts > 0] / counts[counts > 0]
        whole, none = share > MOSTLY_CLOSE, share < 1 - MOSTLY_CLOSE
        return bool(whole.any() and none.any() and (whole | none).mean() > MOSTLY_CLOSE)

    def _rows(self, values: np.ndarray) -> np.ndarray:
        return self.sample.usable & np.isfinite(values)


class Clone:
    """A policy fitted to the actions: right log-probs make its mean ratio 1 on steps that it has not seen."""

    def __init__(self, log: Trajectories, sample: Sample) -> None:
        self.reference, self.held_out = clone_of(log, sample)
        self.sample, self.discrete = sample, log.action_space.is_discrete
        temperatures = DISCRETE_TESTS if self.discrete else CONTINUOUS_TESTS
        self.tests = [
            self.reference.flattened(t) if t > 1 else self.reference.log_prob(t) - self.reference.log_mass(t)
            for t in temperatures
        ]
        # float32 tells 2^24 actions apart in each dimension; no policy is narrower than that.
        self._widest_gap = 24 * np.log(2) * (1 if sample.actions.ndim == 1 else sample.actions.shape[-1])
        self.parts = _parts(self.reference.spread(), self.held_out)

    def fit(self, values: np.ndarray) -> Fit:
        """Whether every mean ratio may be 1; the distance is the log of the one that is farthest from it."""
        if self.discrete and np.nanmax(values) > 1e-6:
            return Fit(False, False, False, float(np.nanmax(values)), np.inf)  # no probability is above 1
        ratios = self.mean_ratios(values)
        worst = max((ratio.log_mean for ratio in ratios), key=abs, default=np.inf)
        score = float(np.mean([abs(ratio.log_mean) + ratio.standard_error for ratio in ratios]))
        well, perhaps, hardly = (all(ratio.may_be_one(errors) for ratio in ratios) for errors in (1, 3, 5))
        decided = any(not ratio.may_be_one(5) and not ratio.undecided() for ratio in ratios)
        too_high = any(ratio.log_mean > 0 and not ratio.may_be_one(3) for ratio in ratios)
        return Fit(
            well,
            perhaps,
            hardly,
            worst,
            score,
            too_high,
            decided or perhaps or bool(self.gap(values) > self._widest_gap),
        )

    def laws(self, columns: list[np.ndarray]) -> list[Law | None]:
        """Of continuous actions, how each column varies given the state; the first is as it was recorded."""
        if self.discrete:
            return [None] * len(columns)
        return laws_of(self.sample, self.reference.features, self.held_out, columns)

    def gap(self, values: np.ndarray) -> float:
        """Nats a step by which the clone misses the policy, if the values are its log-probs."""
        rows = self.held_out & self.sample.usable & np.isfinite(values)
        return float((values - self.reference.log_prob())[rows].mean()) if rows.any() else np.inf

    def mean_ratios(self, values: np.ndarray) -> "list[MeanRatio]":
        """The mean of q / beta over held-out rows, for each density and part of the states."""
        found = []
        for part in self.parts:
            rows = part & np.isfinite(values)
            usable, episode = self.sample.usable[rows], self.sample.episode[rows]
            if usable.sum() > 1:
                found += [_mean_ratio(test[rows] - values[rows], usable, episode) for test in self.tests]
        return found


def _parts(spread: np.ndarray, rows: np.ndarray) -> list[np.ndarray]:
    """The held-out rows in thirds by how widely the policy draws; all of them where it draws alike everywhere."""
    if np.std(spread[rows]) < SAME_SPREAD:
        return [rows]
    low, high = np.quantile(spread[rows], [1 / 3, 2 / 3])
    return [rows & (spread <= low), rows & (spread > low) & (spread <= high), rows & (spread > high)]


@dataclass(frozen=True)
class MeanRatio:
    """The log of a mean ratio, its standard error over episodes, and the share of rows that carry it (Kish)."""

    log_mean: float
    standard_error: float
    effective: float
    rows: int
    tail: float  # Hill's index of the largest ratios: from 1/2 on their variance, from 1 on their mean is infinite

    def undecided(self) -> bool:
        """Whether a mean below 1 may be one that lacks its largest terms, which too few rows would have shown."""
        return self.log_mean < 0 and self.tail > HEAVY_TAIL

    def may_be_one(self, errors: float) -> bool:
        """Whether the mean is 1 within so many standard errors.

        Where few rows carry it, a mean is too low rather than too high, since its largest terms are those not seen.
        """
        noise = errors * self.standard_error
        if self.log_mean > 0:
            high_by = HIGH_BY if self.effective * self.rows >= HANDFUL else HIGH_BY_HANDFUL
            return self.log_mean <= SLACK + min(noise, high_by)
        return -self.log_mean <= SLACK + noise + LOW_BY * max(0.0, np.log(FEW_ROWS / self.effective))


def _mean_ratio(log_ratio: np.ndarray, usable: np.ndarray, episode: np.ndarray) -> MeanRatio:
    log_ratio = np.where(usable, log_ratio, -np.inf)
    largest = float(log_ratio.max())
    if not np.isfinite(largest):
        return MeanRatio(-np.inf, 0.0, 1.0, len(usable), 0.0)
    # A constant factor, put back into the log of the mean, keeps the exponential finite.
    weight = np.exp(log_ratio - largest)
    mean, error = mean_and_error(weight, episode)
    effective = float(mean**2 / (weight**2).mean())
    return MeanRatio(float(np.log(mean) + largest), error / mean, effective, len(weight), _tail(log_ratio))


def mean_and_error(values: np.ndarray, episode: np.ndarray) -> tuple[float, float]:
    """The mean of rows, and its standard error: rows of an episode are not independent, episodes are."""
    mean = float(values.mean())
    residual = np.bincount(episode, values) - mean * np.bincount(episode)
    return mean, float(np.sqrt((residual**2).sum()) / len(values))


def _tail(log_ratio: np.ndarray) -> float:
    count = max(1, int(TAIL * len(log_ratio)))
    top = np.sort(log_ratio)[-count - 1 :]
    return float((top[1:] - top[0]).mean()) if np.isfinite(top[0]) else 0.0
