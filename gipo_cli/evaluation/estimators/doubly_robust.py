"""The fitted Q, corrected by weighted errors along episodes."""

import numpy as np

from gipo_cli.evaluation.estimators import Array, Evidence, Statistic, mean_of, rests_on


@rests_on("products")
def estimate(evidence: Evidence) -> Statistic:
    """V of the start and, step by step, what Q got wrong, weighted by the products of ratios.

        J = 1/E sum_i (V(s_0) + sum_t gamma^t W_t (r_t + gamma V(s_{t+1}) - Q(s_t, a_t)))

    Unbiased whatever Q is, since that was fitted to other episodes; the better Q, the less is left to the products,
    whose variance still grows exponentially with the length.

    Source: Jiang and Li 2016, https://arxiv.org/abs/1511.03722, in the form of Thomas and Brunskill 2016
    """

    def corrected(part: Evidence) -> Array:
        error = part.reward + part.discount * part.value_after - part.quality
        return part.value[part.starts] + part.per_episode(np.exp(part.log_product) * error)

    with np.errstate(over="ignore", invalid="ignore"):
        return mean_of(evidence.by_episode(corrected))
