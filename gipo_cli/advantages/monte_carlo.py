"""The realised return less the value of the state."""

from gipo_cli.advantages import Estimate, Task
from gipo_cli.advantages.from_value import from_value, td, td_less_value
from gipo_cli.settings import Fraction


def estimate(
    task: Task,
    *,
    smooth: Fraction = 1.0,
) -> Estimate:
    """Discounted return to go less V(s), V fitted to the same returns.

        A = sum_{k<n} gamma^k r_{t+k} + gamma^n V(s_{t+n}) - V(s_t)

    The sum runs to the end of the episode; V is added there only where the episode was cut, so a log without cut
    episodes meets no bootstrapped value at all. Unbiased whatever V is, and the noisiest of all: every later action
    and every later piece of luck is in it.

    Centred: with smooth = 1 exactly, under beta, in every state (see smoothing); with smooth = 0 the mean over the log
    alone is removed, and errors of V stay in as noise that depends on the state.

    The values are those of beta: policy and improvement_kl are not looked at.

    Source: REINFORCE with a baseline, Williams 1992; smoothing, on the idea of arXiv:2109.06093, is ours.

    Settings:
        smooth: share of the smoothed advantages; the rest are raw, 0 to 1.
    """
    return from_value(
        task,
        td(task, 1.0),
        td_less_value(task, 1.0),
        smooth=smooth,
    )
