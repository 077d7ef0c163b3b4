"""The plain importance-weighted policy gradient."""

from torch import Tensor

SATURATION = 20.0  # nats; verl bounds the log ratio there before exp (rollout_corr)


def no_clip(log_ratio: Tensor, advantage: Tensor) -> Tensor:
    """Importance-sampling policy loss with nothing between the ratio and the gradient, one value per sample.

        loss = -advantage * exp(log_ratio)

    The unbiased baseline, and the one whose variance explodes: E[ratio^2] is exp(v) where log_ratio has variance v.
    Beyond 20 nats (a ratio of 5e8) value and gradient both stay at exp(20), so that float32 never holds inf; the
    gradient is kept, not cut, because a clamp would make the worst samples silent.

    Source: the importance-sampled policy gradient; the baseline "No-Clip" of https://arxiv.org/abs/2603.03955

    Args:
        log_ratio: log pi(a|s) - log beta(a|s), in nats, [N]; carries the gradient.
        advantage: in units of return or standardised, [N]; no gradient.

    Returns:
        Loss, [N]. The training loop takes the mean.
    """
    at = log_ratio.detach()
    # The bracket is 1 with derivative 1: the value and the gradient are both the saturated ratio.
    ratio = at.clamp(max=SATURATION).exp() * (1 + (log_ratio - at))
    return -ratio * advantage.detach()
