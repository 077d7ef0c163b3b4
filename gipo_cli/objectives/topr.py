"""TOPR: good actions are imitated, bad ones weighed by a truncated ratio."""

import torch
from torch import Tensor

from gipo_cli.objectives.ratio import constant, saturated


def topr(log_ratio: Tensor, advantage: Tensor) -> Tensor:
    """Tapered off-policy REINFORCE loss, one value per sample.

        loss = -advantage * log pi where advantage >= 0;  -advantage * sg(min(ratio, 1)) * log pi where advantage < 0

    A good action weighs 1 however far the policy has moved from it, so it can be won back, which no objective can that
    weighs by the ratio; a bad one is pushed away only as long as the policy still takes it. The value of the loss is
    -advantage times the weight; only its gradient is that of the formula.

    Source: Le Roux et al., https://arxiv.org/abs/2503.14286; here with the ratio of a step, not of a whole answer

    Args:
        log_ratio: log pi(a|s) - log beta(a|s), in nats, [N]; carries the gradient.
        advantage: in units of return or standardised, [N]; no gradient.

    Returns:
        Loss, [N]. The training loop takes the mean.
    """
    ratio = saturated(log_ratio).clamp(max=1.0)
    weight = torch.where(advantage < 0, ratio, torch.ones_like(ratio))
    return -constant(weight, log_ratio) * advantage.detach()
