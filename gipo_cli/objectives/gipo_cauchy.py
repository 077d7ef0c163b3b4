"""GIPO with a Cauchy trust weight in place of the Gaussian."""

from torch import Tensor

from gipo_cli.objectives.gipo import widths
from gipo_cli.objectives.ratio import saturated


def gipo_cauchy(
    log_ratio: Tensor, advantage: Tensor, *, sigma: float = 1.0, sigma_negative_ratio: float = 1.0
) -> Tensor:
    """Cauchy importance-sampling policy loss, one value per sample.

        loss = -advantage * ratio / (1 + (sg(log_ratio) / sigma)^2)

    Its weight is bounded for no sigma: trust falls like 1 / log_ratio^2 while the ratio grows exponentially. Beyond
    20 nats the ratio stays at exp(20).

    Source: the cauchy kernel of the authors' code, https://github.com/distanceLu/GIPO

    Args:
        log_ratio: log pi(a|s) - log beta(a|s) of the joint action, in nats, [N]; carries the gradient.
        advantage: in units of return or standardised, [N]; no gradient.
        sigma: width of the trust weight, in nats, above 0.
        sigma_negative_ratio: what sigma is multiplied by where the advantage is below 0; above 0.

    Returns:
        Loss, [N]. The training loop takes the mean.
    """
    far = log_ratio.detach() / widths("gipo-cauchy", log_ratio, advantage, sigma, sigma_negative_ratio)
    return -saturated(log_ratio) / (1 + far**2) * advantage.detach()
