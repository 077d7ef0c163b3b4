"""The one loop behind every clone of a behaviour policy, and behind what else is fitted to a log by the way."""

from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn

from gipo_cli.pieces import differentiate, pieces

P = TypeVar("P", bound=nn.Module)


def ascend(
    policy: P,
    log_prob: Callable[[P, Tensor], Tensor],
    batch: Callable[[int], Tensor],
    *,
    steps: int,
    learning_rate: float,
    max_gradient_norm: float,
) -> Iterator[int]:
    """Raise the likelihood of logged actions by Adam, the rate falling to a thirtieth along a cosine.

    Args:
        policy: changed in place.
        log_prob: log pi(a|s) of some rows, [B].
        batch: rows of a step.
        steps: updates.
        learning_rate: at the start.
        max_gradient_norm: longer gradients are shortened to it.

    Yields:
        The number of each step, after it was made.
    """
    parameters = [*policy.parameters()]

    def differentiated(step: int) -> None:
        rows = batch(step)
        differentiate(parameters, lambda part: -log_prob(policy, part).sum() / len(rows), pieces(rows))

    return _by_adam(policy, differentiated, steps, learning_rate, max_gradient_norm)


def descend(
    network: nn.Module,
    loss: Callable[[int], Tensor],
    *,
    steps: int,
    learning_rate: float,
    max_gradient_norm: float,
) -> Iterator[int]:
    """Lower a loss of each step by Adam, the rate falling to a thirtieth along a cosine; see `ascend`."""
    return _by_adam(network, lambda step: loss(step).backward(), steps, learning_rate, max_gradient_norm)


def _by_adam(
    network: nn.Module, put_gradients: Callable[[int], None], steps: int, learning_rate: float, max_gradient_norm: float
) -> Iterator[int]:
    """Steps along the gradients that `put_gradients` puts in place."""
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, learning_rate / 30)
    for step in range(steps):
        optimizer.zero_grad()
        put_gradients(step)
        torch.nn.utils.clip_grad_norm_(network.parameters(), max_gradient_norm)
        optimizer.step()
        schedule.step()
        yield step
