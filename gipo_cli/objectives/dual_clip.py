"""PPO's clipped surrogate, clipped once more where the advantage is negative."""

import math

import torch
from torch import Tensor

from gipo_cli.errors import SettingError
from gipo_cli.objectives.ppo_clip import ppo_clip


def dual_clip(log_ratio: Tensor, advantage: Tensor, *, epsilon: float = 0.2, c: float = 3.0) -> Tensor:
    """Dual-clip PPO policy loss, one value per sample.

        loss = ppo-clip where advantage >= 0;  min(ppo-clip, -c * advantage) where advantage < 0

    It takes away what is unbounded in PPO-Clip: a bad action that the policy has made c times as likely, or more,
    teaches nothing at all, where PPO weighs it by its ratio.

    Source: Ye et al., https://arxiv.org/abs/1912.09729, equation 5; c = 3 is the default of the paper and of verl

    Args:
        log_ratio: log pi(a|s) - log beta(a|s), in nats, [N]; carries the gradient.
        advantage: in units of return or standardised, [N]; no gradient.
        epsilon: half-width of the interval of ratios that is left alone, between 0 and 1.
        c: ratio from which on a negative advantage is cut, above 1.

    Returns:
        Loss, [N]. The training loop takes the mean.

    Raises:
        SettingError: epsilon is not between 0 and 1, or c not above 1.
    """
    if not (c > 1 and math.isfinite(c)):
        raise SettingError(f"c of the objective 'dual-clip' is {c}; expected a number above 1.")
    cut = (advantage < 0) & (log_ratio.detach() > math.log(c))
    return torch.where(cut, -c * advantage.detach(), ppo_clip(log_ratio, advantage, epsilon=epsilon))
