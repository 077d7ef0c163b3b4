"""GIPO's update written plainly in torch, as one would in a script: what gipo's own costs beyond that is its own.

A test holds it to gipo's own update, as it does the one in JAX.
"""

import math
from typing import TYPE_CHECKING

from tests.benchmarks.comparison import Subject
from tests.benchmarks.made_up import ACTION, HIDDEN, OBSERVATION, Arrays

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor, nn

SIGMA, LEARNING_RATE, LARGEST_GRADIENT = 1.0, 1e-4, 1.0
TARGET, START = 0.5, 0.1  # of the anchor: nats, and its coefficient before the first update


def updates(made: Arrays, batch: int) -> Subject:
    """Rows drawn with replacement."""
    import torch

    torch.manual_seed(0)
    update, _ = update_of(new_network(), made)

    def work(times: int) -> None:
        for _ in range(times):
            update(torch.randint(len(made), (batch,)))

    return Subject(work)


def new_network() -> "nn.Sequential":
    """Mean and log standard deviation in one last layer."""
    from torch import nn

    return nn.Sequential(
        nn.Linear(OBSERVATION, HIDDEN[0]), nn.Tanh(), nn.Linear(*HIDDEN), nn.Tanh(), nn.Linear(HIDDEN[1], 2 * ACTION)
    )


def update_of(network: "nn.Sequential", made: Arrays) -> "tuple[Callable[[Tensor], None], Tensor]":
    """One update on some rows, and the anchor's state: its log coefficient and running KL."""
    import torch

    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE, fused=True)
    columns = (made.observation, made.action, made.log_prob, made.advantage)
    observation, action, behaviour_log_prob, advantage = (torch.as_tensor(column) for column in columns)
    anchor = torch.tensor([math.log(START), 0.0])

    def update(rows: "Tensor") -> None:
        mean, log_std = network(observation[rows]).chunk(2, -1)
        log_std = log_std.clamp(-20, 2)
        standardised = (action[rows] - mean) * torch.exp(-log_std)
        log_prob = -(0.5 * standardised**2 + log_std + 0.5 * math.log(2 * math.pi)).sum(-1)
        x = log_prob - behaviour_log_prob[rows]
        loss = -(torch.exp(x - 0.5 * (x.detach() / SIGMA) ** 2) * advantage[rows]).mean()
        kl = -x.mean()
        with torch.no_grad():
            anchor[1].mul_(0.95).add_(kl, alpha=0.05)
            anchor[0].add_(((anchor[1] - TARGET) / TARGET).clamp(-1, 1), alpha=0.01)
        optimizer.zero_grad()
        (loss + anchor[0].exp() * kl).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), LARGEST_GRADIENT)
        optimizer.step()

    return update, anchor
