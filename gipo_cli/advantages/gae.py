"""Generalised advantage estimation on a value function fitted to convergence."""

from gipo_cli.advantages import Estimate, Task
from gipo_cli.advantages.from_value import from_value, td, td_less_value
from gipo_cli.settings import Fraction


def estimate(
    task: Task,
    *,
    gae_lambda: Fraction = 0.95,
    value_lambda: Fraction = 0.95,
    smooth: Fraction = 1.0,
) -> Estimate:
    """GAE(lambda): discounted one-step errors of V, summed with a decay.

        A = sum_k (gamma lambda)^k (r_{t+k} + gamma V(s_{t+k+1}) - V(s_{t+k}))

    lambda = 1 is Monte-Carlo, 0 is one step. V is fitted to TD(value_lambda) returns first: how V is learned and how
    far an advantage looks ahead are two questions, and have two settings. Where both are equal the formula is that of
    `td-lambda`, told in another order.

    Centred: with smooth = 1 exactly, under beta, in every state (see smoothing); with smooth = 0 the mean over the log
    alone is removed, and errors of V stay in as noise that depends on the state.

    The values are those of beta: policy and improvement_kl are not looked at.

    Source: Schulman et al. 2015 (arXiv:1506.02438), equation 16; smoothing is ours.

    Settings:
        gae_lambda: decay of the advantage, 0 to 1.
        value_lambda: decay of the returns that V is fitted to, 0 to 1.
        smooth: share of the smoothed advantages; the rest are raw, 0 to 1.
    """
    return from_value(
        task,
        td(task, value_lambda),
        td_less_value(task, gae_lambda),
        smooth=smooth,
    )
