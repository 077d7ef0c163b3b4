"""Regression in minibatches that keeps the best it has been, judged on episodes it does not learn from.

The judges are a tenth of the *held-in* episodes. The held-out ones stay untouched: the score of an estimate on them
decides whether a policy is certified, and a fit that had chosen when to stop by them would flatter it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gipo_cli.training.samples import Samples

BATCH = 1024
LEARNING_RATE = 1e-3
LARGEST_GRADIENT = 10.0
JUDGING_EPISODES = 10  # one in so many
CHECKS = 12  # times that a fit is judged


@dataclass(frozen=True)
class Rows:
    """Held-in rows that are learned from, and those that say when to stop."""

    learning: Tensor
    judging: Tensor
    generator: torch.Generator  # draws the minibatches
    batch_size: int = BATCH

    def batch(self) -> Tensor:
        """Rows to learn from, drawn with replacement."""
        drawn = torch.randint(len(self.learning), (self.batch_size,), generator=self.generator)
        return self.learning[drawn.to(self.learning.device)]


def rows_of(samples: Samples, generator: torch.Generator, batch_size: int = BATCH) -> Rows:
    """Every tenth held-in episode judges; where there is one held-in episode alone, it judges itself."""
    held_in = samples.held_in_rows
    _, place = samples.episode[held_in].unique(return_inverse=True)
    judges = place % JUDGING_EPISODES == min(JUDGING_EPISODES, int(place.max()) + 1) - 1
    learning = held_in if bool(judges.all()) else held_in[~judges]
    return Rows(learning, held_in[judges], generator, batch_size)


def regress(
    networks: nn.Module,
    errors: Callable[[Tensor], Tensor],
    rows: Rows,
    updates: int,
    advance: Callable[..., None],
    weight: Tensor | None = None,
) -> None:
    """Fit K networks side by side; each is left as it was when the rows that judge it liked it best.

    The learning rate falls to 0 along half a cosine. What the networks are before the first update counts too, so
    regressing noise leaves them at that.

    Args:
        networks: every parameter has the member as its first axis.
        errors: rows [B] -> squared errors [K, B], in units in which 1 is large.
        rows: which are learned from and which judge.
        updates: gradient steps.
        advance: told of each update.
        weight: how often each row counts for each member, [K, N]; once where none.
    """
    parameters = list(networks.parameters())
    optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE, fused=True)
    best, kept = _judged(errors, rows), [parameter.detach().clone() for parameter in parameters]
    checks = {math.ceil(updates * (i + 1) / CHECKS) for i in range(CHECKS)}
    for update in range(1, updates + 1):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * (0.5 + 0.5 * math.cos(math.pi * (update - 1) / updates))
        batch = rows.batch()
        error = errors(batch)
        if weight is not None:
            error = error * weight[:, batch]
        optimizer.zero_grad()
        error.mean(-1).sum().backward()
        nn.utils.clip_grad_norm_(parameters, LARGEST_GRADIENT)
        optimizer.step()
        advance(1)
        if update in checks:
            judged = _judged(errors, rows)
            better = judged < best
            best = torch.where(better, judged, best)
            for parameter, was in zip(parameters, kept, strict=True):
                was[better] = parameter.detach()[better]
    with torch.no_grad():
        for parameter, was in zip(parameters, kept, strict=True):
            parameter.copy_(was)


@torch.no_grad()
def _judged(errors: Callable[[Tensor], Tensor], rows: Rows) -> Tensor:
    """Mean squared error of each member on the rows that judge, [K]."""
    return torch.cat([errors(chunk) for chunk in rows.judging.split(16384)], -1).mean(-1)
