"""The fitted Q, corrected by marginally weighted errors."""

from gipo_cli.evaluation.estimators import Evidence, Statistic, mean_of, rests_on


@rests_on("marginal weights")
def estimate(evidence: Evidence) -> Statistic:
    """V of the start and what Q got wrong where the policy goes.

        J = 1/E sum_i (V(s_0) + sum_t w(s_t, a_t) (r_t + gamma V(s_{t+1}) - Q(s_t, a_t)))

    Its bias is the product of the errors of w and Q, both learned on other episodes, and its variance does not grow
    with the length as that of products does: the one estimate here that a verdict rests on. It is unbiased if either
    is right, and neither can be right about states that the log never saw.

    Source: Kallus and Uehara 2020, https://arxiv.org/abs/1908.08526
    """
    correction = evidence.sums(evidence.marginal_weight * evidence.error)
    return mean_of(evidence.value[evidence.starts] + correction)
