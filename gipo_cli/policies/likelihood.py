"""The one loop behind every clone of a behaviour policy, and behind what else is fitted to a log by the way."""

from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn

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
    return descend(
        policy, lambda step: -log_prob(policy, batch(step)).mean(),
        steps=steps, learning_rate=learning_rate, max_gradient_norm=max_gradient_norm,
    )  # fmt: skip


def descend(
    network: nn.Module,
    loss: Callable[[int], Tensor],
    *,
    steps: int,
    learning_rate: float,
    max_gradient_norm: float,
) -> Iterator[int]:
    """Lower a loss of each step by Adam, the rate falling to a thirtieth along a cosine; see `ascend`."""
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, learning_rate / 30)
    for step in range(steps):
        value = loss(step)
        optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), max_gradient_norm)
        optimizer.step()
        schedule.step()
        yield step
