"""The plain importance-weighted policy gradient."""

from torch import Tensor

from gipo_cli.objectives.ratio import saturated


def no_clip(log_ratio: Tensor, advantage: Tensor) -> Tensor:
    """Importance-sampling policy loss with nothing between the ratio and the gradient, one value per sample.

        loss = -advantage * exp(log_ratio)

    The unbiased baseline, and the one whose variance explodes: E[ratio^2] is exp(v) where log_ratio has variance v.
    Beyond 20 nats value and gradient both stay at exp(20).

    Source: the importance-sampled policy gradient; the baseline "No-Clip" of https://arxiv.org/abs/2603.03955

    Args:
        log_ratio: log pi(a|s) - log beta(a|s), in nats, [N]; carries the gradient.
        advantage: in units of return or standardised, [N]; no gradient.

    Returns:
        Loss, [N]. The training loop takes the mean.
    """
    return -saturated(log_ratio) * advantage.detach()
