"""The weight that an objective really gives a sample."""

from collections.abc import Callable

import torch
from torch import Tensor

from gipo_cli.objectives.traits import has_trait

PIECE = 2**16  # ratios of which autograd's dozen of intermediate columns stay in the cache


def effective_weight(
    objective: Callable[..., Tensor], log_ratio: Tensor, advantage: Tensor, **settings: float
) -> Tensor:
    """What multiplies advantage * grad log pi in the gradient of the objective, for each sample.

        weight = -(d loss / d log_ratio, less the same at advantage 0) / advantage

    A loss is |A| times a function of the log ratio and of the sign of A, so the sign alone is passed on: nothing is
    divided by a small advantage. An advantage of 0 counts as positive. It is taken from autograd and not from the
    value of the loss, so a factor that is detached counts and one that is clamped does not. What a loss does at
    advantage 0 is a penalty and no weight. An objective that imitates has no such factor; for it the weight is what
    multiplies grad log pi itself, -(d loss / d log_ratio), at the advantage as it is.

    Args:
        objective: a function of gipo_cli.objectives.
        log_ratio: log pi(a|s) - log beta(a|s), in nats, [N].
        advantage: any unit, [N].
        **settings: the objective's settings; those left out keep their defaults.

    Returns:
        Weight, [N], in the dtype of log_ratio, without a gradient.
    """
    if has_trait(objective, "imitates"):
        return -_slope(objective, log_ratio, advantage.to(log_ratio.dtype), settings)
    sign = torch.where(advantage.detach() < 0, -1.0, 1.0).to(log_ratio.dtype)
    penalty = _slope(objective, log_ratio, torch.zeros_like(sign), settings)
    return -(_slope(objective, log_ratio, sign, settings) - penalty) / sign


def mean_effective_weight(
    objective: Callable[..., Tensor], parts: Tensor, advantage: Tensor, **settings: float
) -> Tensor:
    """The effective weight of samples that have a ratio for each dimension of the action: the mean of theirs, [N].

    Args:
        objective: a function of gipo_cli.objectives.
        parts: log ratio of each dimension, in nats, [N, A]; of joint ratios [N, 1].
        advantage: any unit, [N].
        **settings: the objective's settings.
    """

    def of(parts: Tensor, advantage: Tensor) -> Tensor:
        repeated = advantage.repeat_interleave(parts.shape[-1])
        return effective_weight(objective, parts.flatten(), repeated, **settings).reshape(parts.shape).mean(-1)

    if has_trait(objective, "of_batch"):
        return of(parts, advantage)
    rows = max(1, PIECE // parts.shape[-1])
    return torch.cat([of(*piece) for piece in zip(parts.split(rows), advantage.split(rows), strict=True)])


def _slope(
    objective: Callable[..., Tensor], log_ratio: Tensor, advantage: Tensor, settings: dict[str, float]
) -> Tensor:
    at = log_ratio.detach().requires_grad_()
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(objective(at, advantage, **settings).sum(), at)
    return slope
