"""Truncated importance sampling."""

from torch import Tensor

from gipo_cli.objectives.ratio import constant, saturated
from gipo_cli.objectives.settings import require_positive


def truncated_is(log_ratio: Tensor, advantage: Tensor, *, cap: float = 2.0) -> Tensor:
    """Policy gradient with importance ratios truncated at a cap, one value per sample.

        loss = -advantage * sg(min(ratio, cap)) * log pi

    The truncation is of the weight and not of the gradient: unlike under PPO's clip a sample beyond the cap goes on
    teaching, with the weight of the cap. The value of the loss is -advantage * min(ratio, cap); only its gradient is
    that of the formula.

    Source: Ionides (2008), truncated importance sampling; ACER, https://arxiv.org/abs/1606.02647; the default is verl's

    Args:
        log_ratio: log pi(a|s) - log beta(a|s), in nats, [N]; carries the gradient.
        advantage: in units of return or standardised, [N]; no gradient.
        cap: largest weight, above 0.

    Returns:
        Loss, [N]. The training loop takes the mean.
    """
    require_positive("truncated-is", "cap", cap)
    return -constant(saturated(log_ratio).clamp(max=cap), log_ratio) * advantage.detach()
