"""Ordinary importance sampling over whole episodes."""

import numpy as np

from gipo_cli.evaluation.estimators import Array, Evidence, Statistic, mean_of, rests_on


@rests_on("whole products")
def estimate(evidence: Evidence) -> Statistic:
    """The return of each episode times the product of all its ratios.

        J = 1/E sum_i W_i G_i,   W_i = prod_t ratio_t,   G_i = sum_t gamma^t r_t

    Unbiased, and useless beyond a few steps: the products' variance grows exponentially with the length of an episode,
    and then most samples lie far below the mean.

    Source: Precup, Sutton and Singh 2000, Eligibility Traces for Off-Policy Policy Evaluation
    """

    def weighted(part: Evidence) -> Array:
        return np.exp(part.log_product[part.last_rows]) * part.per_episode(part.reward_and_rest)

    with np.errstate(over="ignore", invalid="ignore"):
        return mean_of(evidence.by_episode(weighted))
