"""GIPO: the importance ratio times a Gaussian trust weight."""

import torch
from torch import Tensor

from gipo_cli.objectives.settings import require_positive


def gipo(log_ratio: Tensor, advantage: Tensor, *, sigma: float = 1.0, sigma_negative_ratio: float = 1.0) -> Tensor:
    """Gaussian importance-sampling policy loss, one value per sample.

        loss = -advantage * exp(log_ratio - (sg(log_ratio) / sigma)^2 / 2)

    The Gaussian is a constant to the gradient (sg): without the stop the gradient would change sign beyond
    log_ratio = sigma^2. The weight is largest, exp(sigma^2 / 2), at log_ratio = sigma^2 and not at 0, and is never
    cut: it falls to 0 on both sides by itself. It is formed in the log domain, because exp(log_ratio) alone overflows
    float32 above 88 and inf * 0 would be nan; for the same reason nothing is clamped, which would void the bound.
    Only where the bound itself overflows (sigma > 13 in float32) can the loss.

    Where the advantage is below 0 the width is sigma * sigma_negative_ratio. Below 1 it lets go of bad samples sooner
    than of good ones, which makes the surrogate optimistic; 1 is the headline GIPO(1, 1) of the paper, 0.5 the default
    of its authors' script.

    Source: Lu et al., GIPO, https://arxiv.org/abs/2603.03955; equations 5 and 6 of https://arxiv.org/abs/2603.18464

    Args:
        log_ratio: log pi(a|s) - log beta(a|s) of the joint action, in nats, [N]; carries the gradient.
        advantage: in units of return or standardised, [N]; no gradient.
        sigma: width of the trust weight, in nats, above 0. On joint log ratios of d dimensions the same sigma is
            tighter, by about sqrt(d), than on the authors' ratios per dimension.
        sigma_negative_ratio: what sigma is multiplied by where the advantage is below 0; above 0.

    Returns:
        Loss, [N]. The training loop takes the mean.
    """
    width = widths("gipo", log_ratio, advantage, sigma, sigma_negative_ratio)
    log_weight = log_ratio - 0.5 * (log_ratio.detach() / width) ** 2
    return -log_weight.exp() * advantage.detach()


def widths(
    objective: str, log_ratio: Tensor, advantage: Tensor, sigma: float | Tensor, sigma_negative_ratio: float
) -> Tensor:
    """Width of a kernel's trust weight by the sign of the advantage, [N], in the dtype of log_ratio.

    Sigma is a scalar tensor where each of several members, for which torch.vmap calls this, has its own.

    Raises:
        SettingError: a width is not a finite number above 0.
    """
    require_positive(objective, "sigma", sigma)
    require_positive(objective, "sigma_negative_ratio", sigma_negative_ratio)
    # zeros_like keeps the dtype of the input; two Python numbers in where() would make float32.
    width = torch.zeros_like(log_ratio, requires_grad=False) + sigma
    return torch.where(advantage < 0, width * sigma_negative_ratio, width)
