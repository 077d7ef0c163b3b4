"""Regression in minibatches that keeps the best it has been, judged on episodes it does not learn from.

The judges are a tenth of the *held-in* episodes. The held-out ones stay untouched: the score of an estimate on them
decides whether a policy is certified, and a fit that had chosen when to stop by them would flatter it.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gipo_cli.advantages.networks import SLICE
from gipo_cli.data.resident import trim, trimmed
from gipo_cli.pieces import differentiate, pieces
from gipo_cli.training.columns import taken
from gipo_cli.training.samples import MOST_JUDGED, Samples

BATCH = 1024
LEARNING_RATE = 1e-3
LARGEST_GRADIENT = 10.0
JUDGING_EPISODES = 10  # one in so many
CHECKS = 12  # times that a fit is judged, at most ...
UPDATES_BETWEEN_CHECKS = 60  # ... and at least so many updates apart
AVERAGING = 0.02  # of the weights that are judged and kept, an update


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
        return taken(self.learning, drawn.to(self.learning.device))


def rows_of(samples: Samples, generator: torch.Generator, batch_size: int = BATCH) -> Rows:
    """Every tenth held-in episode judges, of many rows fewer; where there is one held-in episode, it judges itself."""
    held_in = samples.held_in_rows
    learns = samples.episodes_of(held_in)
    place = learns.cumsum(0) - 1  # of each episode among those that are held in
    every = JUDGING_EPISODES * math.ceil(len(held_in) / JUDGING_EPISODES / MOST_JUDGED)
    count = int(learns.sum())
    judges = learns & (place % JUDGING_EPISODES == min(JUDGING_EPISODES, count) - 1)
    looked_at = judges & (place % every == min(JUDGING_EPISODES, count) - 1)
    judging = samples.of_episodes(held_in, looked_at)
    learning = held_in if count == 1 else samples.of_episodes(held_in, learns & ~judges)
    return Rows(learning, judging, generator, batch_size)


def regress(
    networks: nn.Module,
    errors: Callable[[nn.Module, Tensor], Tensor],
    rows: Rows,
    updates: int,
    advance: Callable[..., None],
    weight: Callable[[Tensor], Tensor] | None = None,
) -> None:
    """Fit K networks side by side; each is left as it was when the rows that judge it liked it best.

    The learning rate falls to 0 along half a cosine, and what is judged and kept is a running average of the weights.
    What the networks are before the first update counts too, so regressing noise leaves them at that.

    Args:
        networks: every parameter has the member as its first axis.
        errors: networks and rows [B] -> squared errors [K, B], in units in which 1 is large.
        rows: which are learned from and which judge.
        updates: gradient steps.
        advance: told of each update.
        weight: rows [B] -> how often each counts for each member, [K, B]; once where none.
    """

    def summed(at: Tensor) -> Tensor:
        error = errors(networks, at)
        return error.sum() if weight is None else (error * weight(at)).sum()

    parameters, slow = list(networks.parameters()), copy.deepcopy(networks)
    optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE, fused=True)
    best, kept = _judged(errors, slow, rows), copy.deepcopy(slow)
    checks = max(1, min(CHECKS, updates // UPDATES_BETWEEN_CHECKS))
    checked_at = {math.ceil(updates * (i + 1) / checks) for i in range(checks)}
    for update in range(1, updates + 1):
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * (0.5 + 0.5 * math.cos(math.pi * (update - 1) / updates))
        differentiate(parameters, lambda part: summed(part) / rows.batch_size, pieces(rows.batch()))
        nn.utils.clip_grad_norm_(parameters, LARGEST_GRADIENT)
        optimizer.step()
        trim()
        _follow(slow, networks, max(AVERAGING, 1 / update))
        advance(1)
        if update in checked_at:
            judged = _judged(errors, slow, rows)
            better = judged < best
            best = torch.where(better, judged, best)
            for was, now in zip(kept.parameters(), slow.parameters(), strict=True):
                was.data[better] = now.data[better]
    networks.load_state_dict(kept.state_dict())


@torch.no_grad()
def _follow(slow: nn.Module, networks: nn.Module, share: float) -> None:
    for follows, leads in zip(slow.parameters(), networks.parameters(), strict=True):
        follows.lerp_(leads, share)


@torch.no_grad()
def _judged(errors: Callable[[nn.Module, Tensor], Tensor], networks: nn.Module, rows: Rows) -> Tensor:
    """Mean squared error of each member on the rows that judge, [K]."""
    return torch.cat([trimmed(errors(networks, chunk)) for chunk in rows.judging.split(SLICE)], -1).mean(-1)
