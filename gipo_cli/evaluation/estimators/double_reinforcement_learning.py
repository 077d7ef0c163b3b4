"""A fitted V, corrected by marginally weighted errors."""

from gipo_cli.evaluation.estimators import Array, Evidence, Statistic, mean_of, rests_on


@rests_on("marginal weights")
def estimate(evidence: Evidence) -> Statistic:
    """V of the start and what V got wrong where the policy goes.

        J = 1/E sum_i (V(s_0) + sum_t w_t (r_t + gamma V(s_{t+1}) - V(s_t)))

    Its bias is the product of the errors of w and V, both learned on other episodes, and its variance does not grow
    with the length as that of products does. V and u of w = u ratio are of states alone: what an action brings comes
    from the exact ratios, and no value is asked for of an action that the log does not have, as fitted Q has to.

    Source: Kallus and Uehara 2020, https://arxiv.org/abs/1908.08526, with V for Q, as unbiased by E[ratio | s] = 1
    """

    def corrected(part: Evidence) -> Array:
        error = part.reward + part.discount * part.state_value_after - part.state_value
        return part.state_value[part.starts] + part.sums(part.marginal_weight * error)

    return mean_of(evidence.by_episode(corrected))
