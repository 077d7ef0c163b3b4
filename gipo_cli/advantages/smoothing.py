"""What is left of noisy advantages when they are written as a function of state and action.

A return less V(s) is an advantage plus the luck of everything that came after. A policy that follows the luck leaves
the data. So the raw numbers A* are regressed on

    c(s) + A(s, a),   A(s, a) = b(s) . z + C(s) : (z z' - I), or q(s, a) - sum_k p_k q(s, k)

and A is kept: centred under beta in every state, exactly, and a function of the state and the noise z of the action
(see centring). c(s) is what V misses, and no advantage.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gipo_cli.advantages.centring import Centring, Target
from gipo_cli.advantages.networks import Networks, on_every_row
from gipo_cli.advantages.regression import Rows, regress
from gipo_cli.advantages.standardised import Standardised
from gipo_cli.training.columns import spread, taken
from gipo_cli.training.order import generator
from gipo_cli.training.samples import Samples

WEIGHTS = 24  # purpose of random numbers


@dataclass(frozen=True)
class Smooth:
    """Advantages as K members see them, on every row, in units of reward."""

    centred: Tensor  # A(s, a), [K, N]; mean 0 under beta in every state
    usual: Tensor  # mean of A(s, a) over the actions of the policy that is valued, [K, N]; 0 where that is beta


def smoothed(
    samples: Samples,
    features: Standardised,
    rows: Rows,
    centring: Centring,
    raw: Tensor,
    *,
    updates: int,
    seed: int,
    advance: Callable[..., None],
    weight: Callable[[Tensor], Tensor] | None = None,
    target: Target | None = None,
) -> Smooth:
    """Regress raw advantages [K, N] on state and action; the fit stops where other episodes say so.

    Advantages that are noise leave A = 0 on every row.

    Args:
        samples: the log.
        features: of its observations.
        rows: that are learned from, and that judge.
        centring: of the log's actions under beta.
        raw: noisy advantages, [K, N].
        updates: gradient steps.
        seed: of the networks.
        advance: told of each update.
        weight: rows [B] -> how often each counts for each member, [K, B]; once where none.
        target: the policy that `usual` is of; beta where none.
    """
    networks = Networks(len(raw), features.size, 1 + centring.head_size, generator(seed, WEIGHTS))
    networks = networks.to(samples.device)
    unit = spread(raw, samples.held_in_rows) + 1e-6

    def parts(head: Tensor, at: Tensor) -> tuple[Tensor, Tensor]:
        return head[..., 0], centring.advantage(head[..., 1:], at)

    def errors(fitted: nn.Module, batch: Tensor) -> Tensor:
        offset, centred = parts(fitted(features[batch]), batch)
        return (offset + centred - (taken(raw, batch, axis=1) / unit).float()).square()

    regress(networks, errors, rows, updates, advance, weight)

    def both(at: Tensor) -> Tensor:
        head = networks(features[at])
        centred = (parts(head, at)[1] * unit).float()
        if target is None:
            return centred[None]
        usual = centring.gain_under(head[..., 1:], at, target)
        return torch.stack([centred, (usual * unit).float()])

    found = on_every_row(both, samples)
    none = torch.zeros(1, 1, device=found.device).expand(found.shape[1:])
    return Smooth(found[0], none if target is None else found[1])
