"""Weighted importance sampling of each reward."""

from gipo_cli.evaluation.estimators import Evidence, Statistic, cells, rests_on, shares, total, weights_by_step


@rests_on("products")
def estimate(evidence: Evidence) -> Statistic:
    """The mean reward of each step, weighted by the products up to it.

        J = sum_t gamma^t sum_i W_it r_it / sum_i W_it

    The mistake to avoid: leaving out episodes that have ended. They earn nothing more, and keep their last weight in
    the denominator; without that the mean of a late step is one over survivors.

    Source: Precup, Sutton and Singh 2000; the weights of ended episodes as in Thomas and Brunskill 2016
    """
    weight = weights_by_step(evidence)
    earned = evidence.by_step(lambda part: part.discounts * part.reward_and_rest)
    for here in cells(weight):
        earned[here] *= weight[here]
    return Statistic(lambda counts: shares(total(counts, earned), total(counts, weight)).sum(-1))
