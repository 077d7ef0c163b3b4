"""Maximum likelihood, the one loop behind every clone of a behaviour policy."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from gipo_cli.policies.policy import Policy


def ascend(
    policy: Policy,
    log_prob: Callable[[Policy, Tensor], Tensor],
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
    optimizer = torch.optim.Adam(policy.parameters(), lr=learning_rate, fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, learning_rate / 30)
    for step in range(steps):
        loss = -log_prob(policy, batch(step)).mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), max_gradient_norm)
        optimizer.step()
        schedule.step()
        yield step
