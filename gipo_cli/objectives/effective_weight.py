"""The weight that an objective really gives a sample."""

from collections.abc import Callable

import torch
from torch import Tensor


def effective_weight(
    objective: Callable[..., Tensor], log_ratio: Tensor, advantage: Tensor, **settings: float
) -> Tensor:
    """What multiplies advantage * grad log pi in the gradient of the objective, for each sample.

        weight = -(d loss / d log_ratio) / advantage

    A loss is |A| times a function of the log ratio and of the sign of A, so the sign alone is passed on: nothing is
    divided by a small advantage. An advantage of 0 counts as positive. It is taken from autograd and not from the
    value of the loss, so a factor that is detached counts and one that is clamped does not.

    Args:
        objective: a function of gipo_cli.objectives.
        log_ratio: log pi(a|s) - log beta(a|s), in nats, [N].
        advantage: any unit, [N].
        **settings: the objective's settings; those left out keep their defaults.

    Returns:
        Weight, [N], in the dtype of log_ratio, without a gradient.
    """
    sign = torch.where(advantage.detach() < 0, -1.0, 1.0).to(log_ratio.dtype)
    at = log_ratio.detach().requires_grad_()
    with torch.enable_grad():
        loss = objective(at, sign, **settings)
        (slope,) = torch.autograd.grad(loss.sum(), at)
    return -slope / sign
