"""GIPO with a Laplacian trust weight in place of the Gaussian."""

from torch import Tensor

from gipo_cli.objectives.gipo import widths
from gipo_cli.objectives.ratio import SATURATION, constant


def gipo_laplacian(
    log_ratio: Tensor, advantage: Tensor, *, sigma: float = 1.0, sigma_negative_ratio: float = 1.0
) -> Tensor:
    """Laplacian importance-sampling policy loss, one value per sample.

        loss = -advantage * exp(log_ratio - |sg(log_ratio)| / sigma)

    Its weight is bounded for sigma up to 1 only, by 1: at sigma = 1 every ratio above 1 weighs 1, which is importance
    sampling truncated at 1. Above, it grows with the ratio like ratio^(1 - 1 / sigma), and beyond 20 nats of it value
    and gradient stay where they are. Unlike the Gaussian it has a kink on policy: half a nat away a sample has lost
    exp(-1 / (2 sigma)) of its trust already.

    Source: the laplacian kernel of the authors' code, https://github.com/distanceLu/GIPO

    Args:
        log_ratio: log pi(a|s) - log beta(a|s) of the joint action, in nats, [N]; carries the gradient.
        advantage: in units of return or standardised, [N]; no gradient.
        sigma: width of the trust weight, in nats, above 0.
        sigma_negative_ratio: what sigma is multiplied by where the advantage is below 0; above 0.

    Returns:
        Loss, [N]. The training loop takes the mean.
    """
    far = log_ratio.detach() / widths("gipo-laplacian", log_ratio, advantage, sigma, sigma_negative_ratio)
    log_weight = log_ratio.detach() - far.abs()
    return -constant(log_weight.clamp(max=SATURATION).exp(), log_ratio) * advantage.detach()
