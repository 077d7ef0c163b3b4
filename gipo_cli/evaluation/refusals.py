"""When an estimate means nothing: what it rests on carries too few episodes or steps."""

from dataclasses import dataclass

import numpy as np

from gipo_cli.data.cache import scratch
from gipo_cli.data.resident import Lent
from gipo_cli.diagnostics.ess import ess_fraction
from gipo_cli.diagnostics.horizon import Degeneracy, degeneracy
from gipo_cli.diagnostics.pareto_k import good_below, pareto_k
from gipo_cli.evaluation.estimators import Evidence

FEWEST_EPISODES = 10  # that are estimated on: below, an interval over episodes is a guess. Ours
MOST_NEGATIVE = 0.1  # share of all marginal weight, by size, that may be below 0, where none can be. Ours
LEAST_SHARE = 0.1  # of the steps that have to count by marginal weight. Ours, as for the steps of a training
MOST_LEFT = 0.05  # share of the discounted return that may lie beyond the reach of products. Ours


@dataclass(frozen=True)
class Support:
    """How far the log carries the policy."""

    episodes: int
    transitions: int
    marginal_ess_fraction: float  # Kish's, of the marginal weights
    marginal_negative_share: float  # by size: visits are never negative, so this much at least is error
    marginal_pareto_k: float | None  # of their tail; none where they have none
    reach: int  # step up to which products of ratios leave enough episodes that count
    needed: int  # step by which all but MOST_LEFT of what the behaviour policy earns is earned
    longest: int  # steps of the longest episode

    def refuses(self, rests_on: str) -> str:
        """Why an estimator that rests on this cannot be believed; empty where it may be."""
        if self.episodes < FEWEST_EPISODES:
            return f"{self.episodes} episodes to estimate on are too few; {FEWEST_EPISODES} are needed"
        if rests_on == "whole products" and self.reach < self.longest:
            return _beyond(self.reach, self.longest)
        if rests_on == "products" and self.reach < self.needed:
            return _beyond(self.reach, self.needed)
        if rests_on in ("values", "marginal weights") and self.marginal_ess_fraction < LEAST_SHARE:
            return f"only {self.marginal_ess_fraction:.0%} of the steps count where the policy goes"
        return self._refuses_marginal() if rests_on == "marginal weights" else ""

    def _refuses_marginal(self) -> str:
        if self.marginal_negative_share > MOST_NEGATIVE:
            return f"{self.marginal_negative_share:.0%} of the marginal weights are negative, which no visits are"
        k = self.marginal_pareto_k
        if k is not None and k >= 1:
            return f"the tail of the marginal weights has Pareto k {k:.2f}: a mean of them never settles"
        return ""


def support(evidence: Evidence) -> Support:
    """How far the log carries the policy; thresholds are applied by `Support.refuses`."""
    products: Degeneracy = degeneracy(Lent(evidence.log_ratio), Lent(evidence.episode))
    log_weight, size, negative = _marginal(evidence)
    return Support(
        episodes=len(evidence.starts),
        transitions=len(evidence.reward),
        marginal_ess_fraction=ess_fraction(log_weight) if size else 0.0,
        marginal_negative_share=negative / max(size, 1e-300),
        marginal_pareto_k=_pareto_k(log_weight),
        reach=products.reach,
        needed=_needed(evidence),
        longest=products.steps[-1],
    )


def worth(k: float | None, samples: int) -> str:
    """A word on a tail that is heavy and not refused; empty where there is nothing to say."""
    good = good_below(samples)
    if k is None or k < good:
        return ""
    return f"the tail of the marginal weights is heavy: Pareto k {k:.2f}, above {good:.2f}"


def _marginal(evidence: Evidence) -> tuple[Lent, float, float]:
    """The log of the size of each marginal weight, [N], their sizes summed, and those of negative ones."""
    log_size, end, size, negative = scratch(evidence.reward.shape, np.dtype(np.float64)), 0, 0.0, 0.0
    for part in evidence.parts():
        weight, here = part.marginal_weight, slice(end, end + len(part.marginal_weight))
        with np.errstate(divide="ignore"):
            log_size[here] = np.log(np.abs(weight))
        size += float(np.abs(weight).sum())
        negative -= float(np.minimum(weight, 0).sum())
        end = here.stop
    return Lent(log_size), size, negative


def _needed(evidence: Evidence) -> int:
    """The step by which all but MOST_LEFT of the discounted rewards, in absolute amount, are in."""
    steps = int(evidence.lengths.max())
    amount = np.zeros(steps)
    for part in evidence.parts():
        amount += np.bincount(part.step, np.abs(part.discounts * part.reward_and_rest), steps)
    total = np.cumsum(amount)
    return 1 + int(np.searchsorted(total, (1 - MOST_LEFT) * total[-1]))


def _pareto_k(log_weight: Lent) -> float | None:
    try:
        return pareto_k(log_weight)
    except ValueError:
        return None


def _beyond(reach: int, needed: int) -> str:
    return f"products of ratios leave enough episodes up to step {reach} only, and step {needed:,} is needed"
