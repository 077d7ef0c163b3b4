"""The importance ratio as losses use it."""

from torch import Tensor

SATURATION = 20.0  # nats; verl bounds the log ratio there before exp (rollout_corr)


def saturated(log_ratio: Tensor) -> Tensor:
    """Ratio exp(log_ratio), whose value and gradient both stay at exp(20) beyond 20 nats (a ratio of 5e8).

    So float32 never holds inf; the gradient is kept, not cut, because a clamp would make the worst samples silent.

    Args:
        log_ratio: in nats, [N]; carries the gradient.
    """
    return constant(log_ratio.detach().clamp(max=SATURATION).exp(), log_ratio)


def constant(weight: Tensor, log_ratio: Tensor) -> Tensor:
    """A weight whose gradient with respect to the log ratio is the weight itself, as if it were a constant.

        sg(weight) * (1 + log_ratio - sg(log_ratio))

    Its loss is that of weight * log pi, up to a constant; its value is the weight.

    Args:
        weight: [N].
        log_ratio: in nats, [N]; carries the gradient.
    """
    return weight.detach() * (1 + (log_ratio - log_ratio.detach()))
