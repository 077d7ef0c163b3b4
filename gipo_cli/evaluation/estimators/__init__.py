"""What off-policy estimators are given and what they give; one file an estimator, in numpy and scipy.

An estimator says what the policy earns as a function of how often each episode was drawn. One function is then its
value (each episode once), its bootstrap (drawn with replacement) and its jackknife (one left out).

Columns may be larger than memory: an estimator asks for numbers by episode (`Evidence.by_episode`), which are in
memory, or by episode and step (`Evidence.by_step`), which may be mapped and are added up by `total`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from functools import cached_property, reduce
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gipo_cli.data.cache import scratch
from gipo_cli.data.resident import trim
from gipo_cli.data.trajectories import stretches

Array = NDArray[np.float64]
LARGE = 2**20  # rows; of more, whole episodes are looked at so many rows at a time
CELLS = 2**22  # of a table by episode and step that are looked at together


@dataclass(frozen=True)
class Evidence:
    """E logged episodes of the behaviour policy, N steps laid end to end, and what was learned for them elsewhere.

    The value asked for is E[sum_t gamma^t r_t] of the policy, an episode that the log cut going on: what lies beyond
    a cut is V of the observation there. What is learned comes from episodes that are not these.
    """

    discount: float  # gamma
    episode: NDArray[np.integer]  # which episode a step is of, [N]; its rows lie together
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
        """First row of each episode, [E].

        Raises:
            ValueError: there is no step.
        """
        if len(self.episode) == 0:
            raise ValueError("there are no samples")
        found = [np.zeros(1, np.intp)]
        for start in range(0, len(self.episode) - 1, LARGE):
            here = self.episode[start : start + LARGE + 1]
            found.append(start + 1 + np.flatnonzero(here[1:] != here[:-1]))
            trim()
        return np.concatenate(found)

    @cached_property
    def lengths(self) -> NDArray[np.intp]:
        """Steps of each episode, [E]."""
        return np.diff(self.starts, append=len(self.episode))

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
        return self.by_episode(lambda part: part.per_episode(part._with_rest(part.behaviour_value_after)))

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

    def table(self, column: Array, *, keep_last: bool = False, steps: int | None = None) -> Array:
        """A column by episode and step, [E, T]; beyond an episode's end 0, or its last value.

        Args:
            column: [N].
            keep_last: repeat the last value.
            steps: T, where it is not that of the longest episode.
        """
        table = np.zeros((len(self.starts), steps or int(self.lengths.max())))
        table[np.repeat(np.arange(len(self.starts)), self.lengths), self.step] = column
        if keep_last:
            beyond = np.arange(table.shape[1]) >= self.lengths[:, None]
            table = np.where(beyond, column[self.last_rows][:, None], table)
        return table

    def by_episode(self, say: Callable[["Evidence"], Array]) -> Array:
        """What is said of each episode, [E, ...], in memory; asked of LARGE rows of whole episodes at a time."""
        return np.concatenate([say(part) for part in self.parts()])

    def by_step(self, say: Callable[["Evidence"], Array], *, keep_last: bool = False) -> Array:
        """What is said of each row as a `table`, [E, T]; mapped from a file where memory does not take it."""
        steps = int(self.lengths.max())
        found = np.asarray(scratch((len(self.starts), steps), np.dtype(np.float64)))
        for episodes in cells(found):
            part = self._part(episodes)
            found[episodes] = part.table(say(part), keep_last=keep_last, steps=steps)
        return found

    def parts(self) -> Iterator["Evidence"]:
        """The same evidence, LARGE rows of whole episodes at a time; trimmed after each."""
        for first, last in stretches(np.append(self.starts, len(self.episode)), LARGE):
            yield self._part(slice(first, last))
            trim()

    def _part(self, episodes: slice) -> "Evidence":
        starts, lengths = self.starts[episodes], self.lengths[episodes]
        if len(starts) == len(self.starts):
            return self  # and what it has computed already
        rows = slice(starts[0], starts[-1] + lengths[-1])
        columns = {field.name: getattr(self, field.name)[rows] for field in fields(self) if field.name != "discount"}
        return Evidence(self.discount, **columns)

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
    weight = weights_by_step(evidence)
    misjudged = evidence.by_step(lambda part: part.discounts * (part.reward_and_rest - part.quality))
    foreseen = evidence.by_step(lambda part: part.discounts * part.value)
    for here in cells(weight):
        misjudged[here] *= weight[here]
        foreseen[here, 1:] *= weight[here, :-1]

    def of_counts(counts: Array) -> tuple[Array, Array]:
        now = total(counts, weight)
        before = np.concatenate([counts.sum(-1, keepdims=True), now[:, :-1]], 1)
        return shares(total(counts, misjudged), now), shares(total(counts, foreseen), before)

    return of_counts


def weights_by_step(evidence: Evidence) -> Array:
    """Products of the ratios up to each step, up to a factor of each step, [E, T]; the last one of an episode stays."""
    found = evidence.by_step(lambda part: part.log_product, keep_last=True)
    largest = np.max([found[here].max(0) for here in cells(found)], 0)
    for here in cells(found):
        np.exp(found[here] - largest, out=found[here])
    return found


def total(counts: Array, table: Array) -> Array:
    """The product counts @ table, [B, T], of counts [B, E] and a table [E, T] that may be mapped."""
    return reduce(np.add, (counts[:, here] @ table[here] for here in cells(table)))


def cells(table: Array) -> Iterator[slice]:
    """Episodes of a table, [E, T], whose cells are looked at together; trimmed after each."""
    at_once = max(1, CELLS // table.shape[1])
    for start in range(0, len(table), at_once):
        yield slice(start, start + at_once)
        trim()


def self_normalised(log_weight: Array) -> Array:
    """Weights up to a factor of each column, which cancels where they are divided by their sum, [E, ...].

    Formed after dividing by the largest, so that no log weight is too large.
    """
    return np.exp(log_weight - log_weight.max(0))


def shares(total: Array, weight: Array) -> Array:
    """The quotient where a resample drew any weight, nan where it drew none."""
    return np.divide(total, weight, out=np.full_like(total, np.nan), where=weight > 0)
