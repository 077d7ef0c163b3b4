"""Rewards weighted by how often the policy comes by."""

from gipo_cli.evaluation.estimators import Evidence, Statistic, mean_of, rests_on


@rests_on("marginal weights")
def estimate(evidence: Evidence) -> Statistic:
    """Every reward times the marginal weight of its state and action: no product over an episode.

        J = 1/E sum_i sum_t w_t r_t,   w = u ratio,   u = d_pi / d_beta

    d is the discounted number of visits; u is learned on other episodes so that visits flow as they must, a trace over
    the last states and their ratios (`temporal_differences`), and the step's own ratio is exact. Its error is that of
    u, whatever the length of the episodes.

    Source: Liu, Li, Tang and Zhou 2018, https://arxiv.org/abs/1810.12429; u linear in features, as MWL of Uehara,
    Huang and Jiang 2020, https://arxiv.org/abs/1910.12809
    """
    return mean_of(evidence.by_episode(lambda part: part.sums(part.marginal_weight * part.reward)))
