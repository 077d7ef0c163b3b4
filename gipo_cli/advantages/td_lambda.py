"""TD(lambda) returns less the value that they are a fixed point of."""

from gipo_cli.advantages import Estimate, Task
from gipo_cli.advantages.from_value import from_value, td, td_less_value
from gipo_cli.settings import Fraction


def estimate(
    task: Task,
    *,
    td_lambda: Fraction = 0.8,
    tolerance: Fraction = 0.01,
    smooth: Fraction = 1.0,
) -> Estimate:
    """TD(lambda) return less V(s), V fitted to TD(lambda) returns in rounds until they agree.

        A = G_t - V(s_t),   G_t = r_t + gamma ((1 - lambda) V(s_{t+1}) + lambda G_{t+1})

    Each round makes the returns anew from the V of the round before. A round whose error, on episodes that V does not
    learn from, is not smaller by `tolerance` of itself is one without progress; two in a row end the fit.

    Not to be confused with `gae`: G - V *is* GAE(lambda), the same sum in another order. There V is learned with a
    lambda of its own; here V and A share one, and V is the fixed point of the very returns that A is measured by. The
    default looks about five steps ahead and leans on V for the rest, where that of `gae` looks twenty.

    Centred: with smooth = 1 exactly, under beta, in every state (see smoothing); with smooth = 0 the mean over the log
    alone is removed, and errors of V stay in as noise that depends on the state.

    The values are those of beta: policy and improvement_kl are not looked at.

    Source: Sutton and Barto 2018, section 12.1; as the critic of AWR, Peng et al. 2019 (arXiv:1910.00177).

    Settings:
        td_lambda: decay of the returns, 0 to 1.
        tolerance: share by which the error of V has to fall in a round, 0 to 1.
        smooth: share of the smoothed advantages; the rest are raw, 0 to 1.
    """
    return from_value(
        task,
        td(task, td_lambda),
        td_less_value(task, td_lambda),
        smooth=smooth,
        tolerance=tolerance,
    )
