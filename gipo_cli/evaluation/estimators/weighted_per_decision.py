"""Weighted importance sampling of each reward."""

from gipo_cli.evaluation.estimators import Evidence, Statistic, rests_on, self_normalised, shares


@rests_on("products")
def estimate(evidence: Evidence) -> Statistic:
    """The mean reward of each step, weighted by the products up to it.

        J = sum_t gamma^t sum_i W_it r_it / sum_i W_it

    The mistake to avoid: leaving out episodes that have ended. They earn nothing more, and keep their last weight in
    the denominator; without that the mean of a late step is one over survivors.

    Source: Precup, Sutton and Singh 2000; the weights of ended episodes as in Thomas and Brunskill 2016
    """
    weight = self_normalised(evidence.table(evidence.log_product, keep_last=True))
    earned = weight * evidence.table(evidence.discounts * evidence.reward_and_rest)
    return Statistic(lambda counts: shares(counts @ earned, counts @ weight).sum(-1))
