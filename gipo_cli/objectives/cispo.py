"""CISPO: a clipped importance weight on the policy gradient."""

from torch import Tensor

from gipo_cli.errors import SettingError
from gipo_cli.objectives.ratio import constant, saturated
from gipo_cli.objectives.settings import require_positive


def cispo(log_ratio: Tensor, advantage: Tensor, *, epsilon_low: float = 1.0, epsilon_high: float = 0.2) -> Tensor:
    """Clipped-importance-weight policy loss, one value per sample.

        loss = -advantage * sg(clip(ratio, 1 - epsilon_low, 1 + epsilon_high)) * log pi

    PPO clips the surrogate and loses the gradient; here the weight is clipped and the gradient stays. By default there
    is no lower clip, as in the paper, and the loss is truncated importance sampling at 1 + epsilon_high. With a lower
    one, a sample that the policy has left weighs 1 - epsilon_low for ever, which draws the policy back to it. The value
    of the loss is -advantage times the weight; only its gradient is that of the formula.

    Source: MiniMax-M1, https://arxiv.org/abs/2506.13585; https://arxiv.org/abs/2510.13786 (ScaleRL) caps at 5

    Args:
        log_ratio: log pi(a|s) - log beta(a|s), in nats, [N]; carries the gradient.
        advantage: in units of return or standardised, [N]; no gradient.
        epsilon_low: the smallest weight is 1 - epsilon_low; above 0, up to 1.
        epsilon_high: the largest weight is 1 + epsilon_high; above 0.

    Returns:
        Loss, [N]. The training loop takes the mean.

    Raises:
        SettingError: a setting out of its range.
    """
    require_positive("cispo", "epsilon_low", epsilon_low)
    require_positive("cispo", "epsilon_high", epsilon_high)
    if epsilon_low > 1:
        raise SettingError(f"epsilon_low of the objective 'cispo' is {epsilon_low}; expected a number up to 1.")
    weight = saturated(log_ratio).clamp(1 - epsilon_low, 1 + epsilon_high)
    return -constant(weight, log_ratio) * advantage.detach()
