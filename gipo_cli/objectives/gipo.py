"""GIPO: the importance ratio times a Gaussian trust weight."""

from torch import Tensor

from gipo_cli.objectives.settings import require_positive


def gipo(log_ratio: Tensor, advantage: Tensor, *, sigma: float = 1.0) -> Tensor:
    """Gaussian importance-sampling policy loss, one value per sample.

        loss = -advantage * exp(log_ratio - (sg(log_ratio) / sigma)^2 / 2)

    The Gaussian is a constant to the gradient (sg): without the stop the gradient would change sign beyond
    log_ratio = sigma^2. The weight is largest, exp(sigma^2 / 2), at log_ratio = sigma^2 and not at 0, and is never
    cut: it falls to 0 on both sides by itself. It is formed in the log domain, because exp(log_ratio) alone overflows
    float32 above 88 and inf * 0 would be nan; for the same reason nothing is clamped, which would void the bound.
    Only where the bound itself overflows (sigma > 13 in float32) can the loss.

    Source: Lu et al., GIPO, https://arxiv.org/abs/2603.03955; equations 5 and 6 of https://arxiv.org/abs/2603.18464

    Args:
        log_ratio: log pi(a|s) - log beta(a|s) of the joint action, in nats, [N]; carries the gradient.
        advantage: in units of return or standardised, [N]; no gradient.
        sigma: width of the trust weight, in nats, above 0. On joint log ratios of d dimensions the same sigma is
            tighter, by about sqrt(d), than on the authors' ratios per dimension.

    Returns:
        Loss, [N]. The training loop takes the mean.
    """
    require_positive("gipo", "sigma", sigma)
    log_weight = log_ratio - 0.5 * (log_ratio.detach() / sigma) ** 2
    return -log_weight.exp() * advantage.detach()
