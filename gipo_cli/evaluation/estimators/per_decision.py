"""Importance sampling of each reward by what led to it."""

import numpy as np

from gipo_cli.evaluation.estimators import Array, Evidence, Statistic, mean_of, rests_on


@rests_on("products")
def estimate(evidence: Evidence) -> Statistic:
    """Each reward times the product of the ratios up to its own step: what comes later cannot have caused it.

        J = 1/E sum_i sum_t gamma^t W_t r_t,   W_t = prod_{k <= t} ratio_k

    Unbiased, with less variance than whole products, which still grows exponentially with t.

    Source: Precup, Sutton and Singh 2000
    """

    def weighted(part: Evidence) -> Array:
        return part.per_episode(np.exp(part.log_product) * part.reward_and_rest)

    with np.errstate(over="ignore", invalid="ignore"):
        return mean_of(evidence.by_episode(weighted))
