"""One update of the policy: what the objective makes of a batch, and the step that it asks for."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from gipo_cli.config import TrainConfig
from gipo_cli.objectives.traits import has_trait
from gipo_cli.pieces import differentiate, each, pieces, total
from gipo_cli.policies.policy import Policy
from gipo_cli.training.distributed import ALONE, Ranks
from gipo_cli.training.natural_step import natural_step
from gipo_cli.training.samples import Samples
from gipo_cli.training.state import Training

DECAY = 0.2  # share of the steps, the last ones, over which the learning rate falls to 0

Objective = Callable[..., Tensor]


class Losses(NamedTuple):
    """What the objective makes of some rows of a batch."""

    loss: Tensor  # scalar; their part of the batch's mean loss
    kl: Tensor  # scalar; their part of its KL(beta || pi) at home, in nats
    log_ratio: Tensor  # [B], in nats


@dataclass(frozen=True)
class Batch:
    """Some rows of the log, and what the objective makes of this rank's share of them."""

    objective: Objective
    settings: dict[str, float]
    advantage: Tensor  # [N], of the whole log
    samples: Samples
    rows: Tensor  # int64, of the whole batch
    ranks: Ranks = ALONE

    @property
    def share(self) -> Tensor:
        """The rows that are this rank's."""
        return self.ranks.share(self.rows)

    @property
    def pieces(self) -> tuple[Tensor, ...]:
        """The share in parts that can be looked at one by one: one part, where a loss depends on the rows around it."""
        return (self.share,) if has_trait(self.objective, "of_batch") else pieces(self.share)

    def losses(self, policy: Policy, rows: Tensor) -> Losses:
        """Of some rows of the batch; over parts of it they sum to the figures of the batch. Carries the gradient."""
        advantage = self.advantage[rows]
        if self.samples.behaviour_log_prob_parts is None:
            log_ratio = self.samples.log_ratio(policy, rows)
            loss = self.objective(log_ratio, advantage, **self.settings).sum() / len(self.rows)
        else:
            parts = self.samples.log_ratio_parts(policy, rows)
            log_ratio, size = parts.sum(-1), parts.shape[-1]
            losses = self.objective(parts.flatten(), advantage.repeat_interleave(size), **self.settings)
            loss = losses.sum() / (len(self.rows) * size)
        return Losses(loss, self.samples.kl_at_home(log_ratio, rows, self.rows), log_ratio)


def update(config: TrainConfig, now: Training, batch: Batch) -> Tensor:
    """Change the policy by one step down the loss of a batch, at the learning rate that the step has.

    Returns:
        Loss of the batch and its KL(beta || pi) at home in nats, before the step, [2]; no gradient.
    """
    set_learning_rate(now.optimizer, scheduled_rate(config, now.step))
    return take_step(config, now, batch)


def take_step(config: TrainConfig, now: Training, batch: Batch) -> Tensor:
    """As `update`, at the learning rate that the optimizer has: on a GPU the same work whatever the step.

    The anchor is steered by the batch's KL before its pull is added. The pieces of a batch on the CPU are shared out
    among threads, forward and backward; their gradients are summed in order.
    """
    parts = each(lambda rows: batch.losses(now.policy, rows), batch.pieces)
    found = batch.ranks.sum(total(torch.stack([part.loss, part.kl]) for part in parts))
    now.anchor.steer(found[1])
    if config.ess_base:
        share = torch.cat([part.log_ratio.detach() for part in parts])
        slow_down(now.optimizer, config.ess_base, batch.ranks.whole(share, len(batch.rows)))
    if has_trait(batch.objective, "natural"):
        climb(now, batch)
        return found
    parameters, pull = [*now.policy.parameters()], now.anchor.coefficient
    differentiate(parameters, lambda part: part.loss + pull * part.kl, parts)
    batch.ranks.sum_gradients(parameters)
    torch.nn.utils.clip_grad_norm_(parameters, config.max_gradient_norm)
    now.optimizer.step()
    return found


def climb(now: Training, batch: Batch) -> None:
    """One step of the natural gradient in place of Adam's, of the same loss with the same anchor."""
    share = batch.share

    def penalised() -> Tensor:
        found = batch.losses(now.policy, share)
        return found.loss + now.anchor.coefficient * found.kl

    observation = batch.samples.observation[share]
    natural_step(now.policy, penalised, observation, batch.settings["radius"], batch.ranks.sum, len(batch.rows))


def scheduled_rate(config: TrainConfig, step: int) -> float:
    """Learning rate after so many updates: constant, then falling to 0 over the last DECAY of the steps."""
    return config.learning_rate * min(1.0, (config.steps - step) / (DECAY * config.steps))


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Of every parameter; in place where the optimizer keeps it on a GPU, so that a recorded update reads it."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def slow_down(optimizer: torch.optim.Optimizer, ess_base: float, log_ratio: Tensor) -> None:
    """Take less of the learning rate where few samples of a batch count.

        rate * sqrt(min(1, ESS / ess_base)),   ESS = (sum w)^2 / (B sum w^2),   w = exp(log_ratio)

    ESS is that of the raw ratios, whatever weight the objective gives them: it says how stale the batch is.

    Source: VCPO, https://arxiv.org/abs/2602.17616, with the ratio of a step in place of that of a sequence

    Args:
        optimizer: whose rate is lowered.
        ess_base: share of the batch that has to count for the full rate, above 0.
        log_ratio: of the batch, [B], in nats, without a gradient.
    """
    weight = (log_ratio.double() - log_ratio.max()).exp()  # a constant factor does not change the share
    ess = weight.sum() ** 2 / (len(weight) * (weight**2).sum())
    factor = (ess / ess_base).clamp(max=1.0).sqrt()
    for group in optimizer.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].mul_(factor)
        else:
            group["lr"] *= factor.item()
