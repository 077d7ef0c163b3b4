"""SAPO: a sigmoid gate on the importance ratio."""

import torch
from torch import Tensor

from gipo_cli.objectives.settings import require_positive

CEILING = 80.0  # nats; exp(80) is finite in float32, and the gradient is 0 long before (from about a ratio of 20 / tau)


def sapo(log_ratio: Tensor, advantage: Tensor, *, tau_positive: float = 1.0, tau_negative: float = 1.05) -> Tensor:
    """Soft adaptive policy loss, one value per sample.

        loss = -advantage * 4 / tau * sigmoid(tau * (ratio - 1))

    The gradient weight is 4 p (1 - p) ratio with p = sigmoid(tau (ratio - 1)): 1 on policy, at most about 1.57 for
    tau = 1, and gone for large ratios. tau is chosen by the sign of the advantage. The value of the loss is not
    -advantage on policy but -2 advantage / tau; only its gradient compares with the other objectives. Authors of GIPO
    compare with tau_negative = 2.

    Source: https://arxiv.org/abs/2511.20347; the defaults are those of the paper, TRL and verl

    Args:
        log_ratio: log pi(a|s) - log beta(a|s), in nats, [N]; carries the gradient.
        advantage: in units of return or standardised, [N]; no gradient.
        tau_positive: steepness of the gate where the advantage is above 0; above 0.
        tau_negative: steepness elsewhere; larger lets go of a sample sooner; above 0.

    Returns:
        Loss, [N]. The training loop takes the mean.
    """
    require_positive("sapo", "tau_positive", tau_positive)
    require_positive("sapo", "tau_negative", tau_negative)
    advantage = advantage.detach()
    # full_like keeps the dtype of the input; two Python numbers in where() would make float32.
    tau = torch.where(advantage > 0, torch.full_like(advantage, tau_positive), torch.full_like(advantage, tau_negative))
    ratio = log_ratio.clamp(max=CEILING).exp()
    return -advantage * (4 / tau) * torch.sigmoid(tau * (ratio - 1))
