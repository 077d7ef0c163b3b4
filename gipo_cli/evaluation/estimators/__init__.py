"""What off-policy estimators are given and what they give; one file an estimator, in numpy and scipy.

An estimator says what the policy earns as a function of how often each episode was drawn. One function is then its
value (each episode once), its bootstrap (drawn with replacement) and its jackknife (one left out).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gipo_cli.diagnostics.episodes import starts_and_lengths

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Evidence:
    """E logged episodes of the behaviour policy, N steps laid end to end, and what was learned for them elsewhere.

    The value asked for is E[sum_t gamma^t r_t] of the policy, an episode that the log cut going on: what lies beyond
    a cut is V of the observation there. What is learned comes from episodes that are not these.
    """

    discount: float  # gamma
    episode: NDArray[np.int64]  # which episode a step is of, [N]; its rows lie together
    reward: Array  # [N]
    log_ratio: Array  # log pi(a|s) - log beta(a|s), exact, [N]
    quality: Array  # Q of the policy at the logged action, [N]
    value: Array  # V of the policy, [N]
    value_after: Array  # V of the policy one step on, 0 after a terminated step, [N]
    state_value: Array  # V fitted to states alone, by ratios in place of drawn actions, [N]
    state_value_after: Array  # the same one step on, 0 after a terminated step, [N]
    marginal_weight: Array  # visits of the policy to this state and action for each of beta's, [N]
    behaviour_value_after: Array  # V of the behaviour policy one step on, 0 after a terminated step, [N]

    @cached_property
    def starts(self) -> NDArray[np.intp]:
        """First row of each episode, [E]."""
        return starts_and_lengths(self.episode)[0]

    @cached_property
    def lengths(self) -> NDArray[np.intp]:
        """Steps of each episode, [E]."""
        return starts_and_lengths(self.episode)[1]

    @cached_property
    def step(self) -> NDArray[np.intp]:
        """Place of each row in its episode, from 0, [N]."""
        return np.arange(len(self.reward)) - np.repeat(self.starts, self.lengths)

    @cached_property
    def discounts(self) -> Array:
        """gamma^t of each row, [N]."""
        return self.discount ** self.step.astype(np.float64)

    @cached_property
    def last_rows(self) -> NDArray[np.intp]:
        """Last row of each episode, [E]."""
        return self.starts + self.lengths - 1

    @cached_property
    def reward_and_rest(self) -> Array:
        """Rewards, and with the last one of an episode what V says would have followed it under the policy, [N]."""
        return self._with_rest(self.value_after)

    @cached_property
    def behaviour_returns(self) -> Array:
        """What the behaviour policy earned in each episode, discounted, with what would have followed a cut, [E]."""
        return self.per_episode(self._with_rest(self.behaviour_value_after))

    @cached_property
    def log_product(self) -> Array:
        """Log of the product of an episode's ratios up to and with each step, [N]."""
        sums = np.cumsum(self.log_ratio)
        before = np.concatenate([[0.0], sums])[self.starts]
        return sums - np.repeat(before, self.lengths)

    def sums(self, amounts: Array) -> Array:
        """sum_t amount_t of each episode, [E]."""
        return np.add.reduceat(amounts, self.starts)

    def per_episode(self, amounts: Array) -> Array:
        """sum_t gamma^t amount_t of each episode, [E]."""
        return self.sums(self.discounts * amounts)

    def table(self, column: Array, *, keep_last: bool = False) -> Array:
        """A column by episode and step, [E, T]; beyond an episode's end 0, or its last value."""
        table = np.zeros((len(self.starts), int(self.lengths.max())))
        table[np.repeat(np.arange(len(self.starts)), self.lengths), self.step] = column
        if keep_last:
            beyond = np.arange(table.shape[1]) >= self.lengths[:, None]
            table = np.where(beyond, column[self.last_rows][:, None], table)
        return table

    def _with_rest(self, value_after: Array) -> Array:
        found = self.reward.copy()
        found[self.last_rows] += self.discount * value_after[self.last_rows]
        return found


Means = Literal["whole products", "products", "marginal weights", "values"]
Estimator = Callable[..., "Statistic"]


def rests_on(means: Means) -> Callable[[Estimator], Estimator]:
    """Say on an estimator what it rests on, and so what it is refused by.

    Args:
        means: `whole products` of all ratios of an episode; `products` of those up to a step; `marginal weights`; or
            `values`, which are guesses where the policy goes and the log does not.
    """

    def mark(estimator: Estimator) -> Estimator:
        vars(estimator)["rests_on"] = means
        return estimator

    return mark


@dataclass(frozen=True)
class Statistic:
    """An estimate as a function of how often each of E episodes is counted."""

    of_counts: Callable[[Array], Array]  # counts [B, E] -> values [B]
    per_episode: Array | None = None  # [E], where the estimate is their mean


def mean_of(per_episode: Array) -> Statistic:
    """The statistic that is the mean of one number an episode, [E]."""

    def of_counts(counts: Array) -> Array:
        with np.errstate(invalid="ignore"):  # an episode beyond float64 leaves no mean, which is for others to say
            return counts @ per_episode / counts.sum(-1)

    return Statistic(of_counts, per_episode)


def weighted_steps(evidence: Evidence) -> Callable[[Array], tuple[Array, Array]]:
    """What weighted doubly robust estimates add up, step by step, as a function of counts [B, E].

        gained_t = gamma^t sum_i w_it (r_it - Q_it),   carried_t = gamma^t sum_i w_i,t-1 V(s_it),   each [B, T]

    with w_it = W_it / sum_i W_it and w_-1 = 1 / E. An episode that has ended keeps its weight, earns 0 and has V = 0.
    """
    weight = self_normalised(evidence.table(evidence.log_product, keep_last=True))
    misjudged = weight * evidence.table(evidence.discounts * (evidence.reward_and_rest - evidence.quality))
    before = np.concatenate([np.ones_like(weight[:, :1]), weight[:, :-1]], 1)
    foreseen = before * evidence.table(evidence.discounts * evidence.value)

    def of_counts(counts: Array) -> tuple[Array, Array]:
        return shares(counts @ misjudged, counts @ weight), shares(counts @ foreseen, counts @ before)

    return of_counts


def self_normalised(log_weight: Array) -> Array:
    """Weights up to a factor of each column, which cancels where they are divided by their sum, [E, ...].

    Formed after dividing by the largest, so that no log weight is too large.
    """
    return np.exp(log_weight - log_weight.max(0))


def shares(total: Array, weight: Array) -> Array:
    """The quotient where a resample drew any weight, nan where it drew none."""
    return np.divide(total, weight, out=np.full_like(total, np.nan), where=weight > 0)
