"""PPO's clipped surrogate."""

import math

import torch
from torch import Tensor

from gipo_cli.errors import SettingError
from gipo_cli.objectives.ratio import saturated
from gipo_cli.objectives.settings import require_positive


def ppo_clip(log_ratio: Tensor, advantage: Tensor, *, epsilon: float = 0.2) -> Tensor:
    """Clipped surrogate policy loss, one value per sample.

        loss = -min(ratio * advantage, clip(ratio, 1 - epsilon, 1 + epsilon) * advantage)

    The gradient is exactly 0, so the sample teaches nothing, where advantage > 0 and ratio > 1 + epsilon, or where
    advantage < 0 and ratio < 1 - epsilon; on the edge itself it is still whole. The clip bounds one side only: with
    advantage < 0 the weight grows with the ratio without bound. Beyond 20 nats value and gradient stay at exp(20).

    Source: Schulman et al., https://arxiv.org/abs/1707.06347, equation 7

    Args:
        log_ratio: log pi(a|s) - log beta(a|s), in nats, [N]; carries the gradient.
        advantage: in units of return or standardised, [N]; no gradient.
        epsilon: half-width of the interval of ratios that is left alone, between 0 and 1.

    Returns:
        Loss, [N]. The training loop takes the mean.

    Raises:
        SettingError: epsilon is not between 0 and 1.
    """
    require_positive("ppo-clip", "epsilon", epsilon)
    if epsilon >= 1:
        raise SettingError(f"epsilon of the objective 'ppo-clip' is {epsilon}; expected a number below 1.")
    advantage, at = advantage.detach(), log_ratio.detach()
    # Compared as log ratios: where the ratio is cut its gradient is cut with it, and at equality (r = 1 + epsilon)
    # neither is. torch.minimum would halve the gradient there.
    too_high = (advantage > 0) & (at > math.log1p(epsilon))
    too_low = (advantage < 0) & (at < math.log1p(-epsilon))
    ratio = torch.where(too_high, 1 + epsilon, torch.where(too_low, 1 - epsilon, saturated(log_ratio)))
    return -ratio * advantage
