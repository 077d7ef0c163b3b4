"""Advantages that are exactly centred, because the behaviour policy's own noise is known.

A logged continuous action is beta's mean plus beta's standard deviation times z, with z ~ N(0, I): z is all that
chance added. An advantage written in z is centred under beta, or under a policy near it, in closed form, so nothing in
it depends on the state alone. For a discrete action the expectation is a finite sum.

Every function takes the head of a network, [..., H], and the rows of the log that it was evaluated at, [...].
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from gipo_cli.policies.versions import VersionedPolicy
from gipo_cli.training.samples import Behaviour, Samples

# How far the improved policy may go from beta in any one state, in standard deviations of beta's noise.
LARGEST_SHIFT = 1.5


class Centring(Protocol):
    """How the head of a network becomes the advantage of a logged action."""

    @property
    def head_size(self) -> int:
        """H, the numbers that the advantage of a state needs."""
        ...

    def advantage(self, head: Tensor, rows: Tensor) -> Tensor:
        """Advantage of the logged action over beta's usual one, [...]: its mean over a ~ beta is 0."""
        ...

    def spread(self, head: Tensor, rows: Tensor) -> Tensor:
        """Variance of the advantage over a ~ beta, to first order, [...]."""
        ...

    def gain(self, head: Tensor, rows: Tensor, temperature: Tensor, guide: Tensor) -> Tensor:
        """Mean of the advantage over the improved policy's actions, [...].

        The improved policy is beta moved along the advantage of `guide` (a head that carries no gradient) divided by
        the temperature.
        """
        ...


@dataclass(frozen=True)
class GaussianNoise:
    """A quadratic form in the noise of a Gaussian action; squashing it with tanh, one-to-one, changes nothing.

        advantage = b . z + C : (z z' - I)            head = (b, upper triangle of C)
        gain      = b . m + C : m m'                  the improved policy has noise N(m, I), m = b_guide / temperature

    KL(beta || improved) of a state is |m|^2 / 2; |m| is cut at LARGEST_SHIFT.
    """

    noise: Tensor  # z, [N, A]
    row: Tensor  # of each entry of the upper triangle
    column: Tensor

    @property
    def head_size(self) -> int:
        """A numbers of b and A (A + 1) / 2 of C."""
        return self.noise.shape[-1] + len(self.row)

    def advantage(self, head: Tensor, rows: Tensor) -> Tensor:
        """B . z + C : (z z' - I), [...]."""
        noise = self.noise[rows]
        products = noise[..., self.row] * noise[..., self.column] - (self.row == self.column).to(noise.dtype)
        return (head * torch.cat([noise, products], -1)).sum(-1)

    def spread(self, head: Tensor, rows: Tensor) -> Tensor:
        """|b|^2, [...]."""
        return head[..., : self.noise.shape[-1]].square().sum(-1)

    def gain(self, head: Tensor, rows: Tensor, temperature: Tensor, guide: Tensor) -> Tensor:
        """B . m + C : m m', [...]."""
        shift = guide[..., : self.noise.shape[-1]] / temperature
        shift = shift * (LARGEST_SHIFT / shift.norm(dim=-1, keepdim=True).clamp_min(1e-6)).clamp_max(1)
        products = shift[..., self.row] * shift[..., self.column]
        return (head * torch.cat([shift, products], -1)).sum(-1)


@dataclass(frozen=True)
class Choices:
    """One number a choice, less its mean under beta's probabilities p.

        advantage = q(a) - sum_k p_k q_k              head = q
        gain      = sum_k (pi_k - p_k) q_k            pi_k proportional to p_k exp((q_guide,k - mean) / temperature)

    The exponent is cut at 2 LARGEST_SHIFT on either side.
    """

    action: Tensor  # [N] int64
    probability: Tensor  # p, [N, K]

    @property
    def head_size(self) -> int:
        """One number a choice."""
        return self.probability.shape[-1]

    def _centred(self, head: Tensor, rows: Tensor) -> Tensor:
        return head - (self.probability[rows] * head).sum(-1, keepdim=True)

    def advantage(self, head: Tensor, rows: Tensor) -> Tensor:
        """q(a) - sum_k p_k q_k, [...]."""
        return self._centred(head, rows).gather(-1, self.action[rows].unsqueeze(-1)).squeeze(-1)

    def spread(self, head: Tensor, rows: Tensor) -> Tensor:
        """Variance of q under p, [...]."""
        return (self.probability[rows] * self._centred(head, rows).square()).sum(-1)

    def gain(self, head: Tensor, rows: Tensor, temperature: Tensor, guide: Tensor) -> Tensor:
        """sum_k (pi_k - p_k) q_k, [...]."""
        tilt = (self._centred(guide, rows) / temperature).clamp(-2 * LARGEST_SHIFT, 2 * LARGEST_SHIFT)
        improved = self.probability[rows] * tilt.exp()
        improved = improved / improved.sum(-1, keepdim=True)
        return (improved * self._centred(head, rows)).sum(-1)


@torch.no_grad()
def centring(beta: Behaviour, samples: Samples) -> Centring:
    """The centring that fits the log: the noise of its actions, or the probabilities of its choices, under beta."""
    columns = [samples.observation] + ([samples.version] if isinstance(beta, VersionedPolicy) else [])
    chunks = zip(*(column.split(65536) for column in columns), strict=True)
    if beta.is_discrete:
        return Choices(samples.action, torch.cat([beta.logits(*chunk).softmax(-1) for chunk in chunks]))
    moments = [beta.mean_and_log_std(*chunk) for chunk in chunks]
    mean = torch.cat([chunk_mean for chunk_mean, _ in moments])
    log_std = torch.cat([chunk_log_std for _, chunk_log_std in moments])
    noise = (samples.gaussian_action - mean) * torch.exp(-log_std)
    row, column = torch.triu_indices(noise.shape[-1], noise.shape[-1], device=noise.device)
    return GaussianNoise(noise, row, column)
