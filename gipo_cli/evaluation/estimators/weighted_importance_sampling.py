"""Weighted importance sampling over whole episodes."""

from gipo_cli.evaluation.estimators import Evidence, Statistic, rests_on, self_normalised, shares


@rests_on("whole products")
def estimate(evidence: Evidence) -> Statistic:
    """The mean return weighted by the products of ratios.

        J = sum_i W_i G_i / sum_i W_i

    Biased towards the behaviour policy's return, by a share that falls with the number of episodes that count; always
    between the smallest and the largest return, so a sober number is no sign of a good one.

    Source: Precup, Sutton and Singh 2000; SNTIS of SCOPE-RL
    """
    weight = self_normalised(evidence.by_episode(lambda part: part.log_product[part.last_rows]))
    earned = weight * evidence.by_episode(lambda part: part.per_episode(part.reward_and_rest))
    return Statistic(lambda counts: shares(counts @ earned, counts @ weight))
