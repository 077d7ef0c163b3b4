"""Advantages that are exactly centred, because the behaviour policy's own noise is known.

A logged continuous action is beta's mean plus beta's standard deviation times z, with z ~ N(0, I): z is all that
chance added. An advantage written in z is centred under beta, or under a policy near it, in closed form, so nothing in
it depends on the state alone. For a discrete action the expectation is a finite sum.

Every function takes the head of a network, [..., H], and the rows of the log that it was evaluated at, [...]; the heads
of K networks, [K, B, H], share their rows, [B].
"""

from dataclasses import dataclass
from functools import cached_property, partial
from typing import Protocol

import torch
from torch import Tensor

from gipo_cli.policies.policy import Policy
from gipo_cli.policies.versions import Behaviour, VersionedPolicy
from gipo_cli.training.columns import taken
from gipo_cli.training.samples import Samples

# How far the improved policy may go from beta in any one state, in standard deviations of beta's noise.
LARGEST_SHIFT = 1.5
DRAWS = 64  # of a Gaussian's noise, where a mean over actions has no closed form


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

    def mean_of_least(self, offset: Tensor, head: Tensor, rows: Tensor) -> Tensor:
        """Mean over a ~ beta of the least of K critics, offset + advantage, from [K, B] and [K, B, H], [B]."""
        ...

    def gain(self, head: Tensor, rows: Tensor, temperature: Tensor, guide: Tensor) -> Tensor:
        """Mean of the advantage over the improved policy's actions, [...].

        The improved policy is beta moved along the advantage of `guide` (a head that carries no gradient) divided by
        the temperature.
        """
        ...

    def gain_under(self, head: Tensor, rows: Tensor, target: "Target") -> Tensor:
        """Mean of the advantage over the actions of a given policy, [...]."""
        ...


@dataclass(frozen=True)
class Target:
    """A policy as the advantage sees it, at every row of the log.

    Of a continuous action: its noise is N(mean, diag(variance)) where beta's is N(0, I), both [N, A]. Of choices:
    their probabilities, [N, K], in `mean`; nothing in `variance`.
    """

    mean: Tensor
    variance: Tensor


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
        noise = taken(self.noise, rows)
        products = noise[..., self.row] * noise[..., self.column] - (self.row == self.column).to(noise.dtype)
        return (head * torch.cat([noise, products], -1)).sum(-1)

    def spread(self, head: Tensor, rows: Tensor) -> Tensor:
        """|b|^2, [...]."""
        return head[..., : self.noise.shape[-1]].square().sum(-1)

    def mean_of_least(self, offset: Tensor, head: Tensor, rows: Tensor) -> Tensor:
        """Mean over DRAWS draws of z, the same for every row, [B].

        The draws come in pairs z and -z with mean square 1 in every dimension, so where one critic is the least for
        all of them its b adds exactly nothing; elsewhere the mean is off by about sd(Q_1 - Q_2) / sqrt(DRAWS).
        """
        noise = torch.randn(DRAWS // 2, self.noise.shape[-1], generator=torch.Generator().manual_seed(0))
        noise = torch.cat([noise, -noise]) / noise.square().mean(0).sqrt()
        noise = noise.to(head)
        products = noise[:, self.row] * noise[:, self.column] - (self.row == self.column).to(noise.dtype)
        least = (offset[..., None] + head @ torch.cat([noise, products], -1).T).amin(0)
        return least.mean(-1)

    def gain(self, head: Tensor, rows: Tensor, temperature: Tensor, guide: Tensor) -> Tensor:
        """B . m + C : m m', [...]."""
        shift = guide[..., : self.noise.shape[-1]] / temperature
        shift = shift * (LARGEST_SHIFT / shift.norm(dim=-1, keepdim=True).clamp_min(1e-6)).clamp_max(1)
        products = shift[..., self.row] * shift[..., self.column]
        return (head * torch.cat([shift, products], -1)).sum(-1)

    def gain_under(self, head: Tensor, rows: Tensor, target: Target) -> Tensor:
        """B . m + C : (m m' + diag(v) - I) for noise N(m, diag(v)), [...]."""
        mean, variance = taken(target.mean, rows), taken(target.variance, rows)
        products = mean[..., self.row] * mean[..., self.column]
        spread = torch.where(self.row == self.column, variance[..., self.row] - 1, 0.0)
        return (head * torch.cat([mean, products + spread], -1)).sum(-1)


@dataclass(frozen=True)
class Choices:
    """One number for every choice of every dimension, less its mean under beta's probabilities p.

        advantage = sum_d [q_d(a_d) - sum_k p_dk q_dk]     head = q, the numbers of dimension 0 first
        gain      = sum_d sum_k (pi_dk - p_dk) q_dk        pi_dk proportional to p_dk exp(q_guide,dk / temperature)

    beta draws the dimensions one by one, so the mean over its actions is a sum of means. An action that is one choice
    has one dimension. Of what two dimensions do together, which no single one of them shows, nothing is seen. The
    exponent, less its mean under p, is cut at 2 LARGEST_SHIFT on either side.
    """

    action: Tensor  # [N] int64, or [N, D]
    probability: Tensor  # p, [N, K], K the sum of the choices
    choices: tuple[int, ...]  # of each of D dimensions

    @property
    def head_size(self) -> int:
        """One number a choice."""
        return self.probability.shape[-1]

    @cached_property
    def _dimension(self) -> Tensor:
        """Which dimension each of the K numbers belongs to, as columns of zeros and ones, [K, D]."""
        each = torch.eye(len(self.choices), device=self.probability.device)
        return each.repeat_interleave(torch.as_tensor(self.choices, device=each.device), 0)

    @cached_property
    def _first(self) -> Tensor:
        """Where among the K numbers those of each dimension begin, [D]."""
        starts = [sum(self.choices[:d]) for d in range(len(self.choices))]
        return torch.as_tensor(starts, device=self.action.device)

    def _logged(self, rows: Tensor) -> Tensor:
        """Where among the K numbers those of the logged choices are, [..., D]."""
        return taken(self.action, rows).reshape(*rows.shape, len(self.choices)) + self._first

    def _of_each_dimension(self, weighted: Tensor) -> Tensor:
        """Sums over the choices of each dimension, beside each of its choices, [..., K]."""
        if len(self.choices) == 1:
            return weighted.sum(-1, keepdim=True)
        return weighted @ self._dimension @ self._dimension.T

    def _centred(self, head: Tensor, rows: Tensor) -> Tensor:
        return head - self._of_each_dimension(taken(self.probability, rows) * head)

    def advantage(self, head: Tensor, rows: Tensor) -> Tensor:
        """Of the logged choices, [...]."""
        logged = self._logged(rows).expand(*head.shape[:-1], -1)
        return self._centred(head, rows).gather(-1, logged).sum(-1)

    def spread(self, head: Tensor, rows: Tensor) -> Tensor:
        """Variance of q under p, [...]."""
        return (taken(self.probability, rows) * self._centred(head, rows).square()).sum(-1)

    def mean_of_least(self, offset: Tensor, head: Tensor, rows: Tensor) -> Tensor:
        """sum_k p_k min over critics of one choice, [B]; of several, the mean over DRAWS of beta's actions.

        The draws are the same for every row, in pairs u and 1 - u of the uniform numbers that pick the choices. The
        mean over DRAWS is off by about the spread of the lesser over sqrt(DRAWS), an eighth of it, alike in rows that
        are alike: it shifts V, and hardly tells one action from another.
        """
        centred, probability = self._centred(head, rows), taken(self.probability, rows)
        if len(self.choices) == 1:
            return (probability * (offset[..., None] + centred).amin(0)).sum(-1)
        uniform = torch.rand(DRAWS // 2, len(self.choices), generator=torch.Generator().manual_seed(0))
        uniform = torch.cat([uniform, 1 - uniform]).to(head)
        total = offset[..., None]
        parts = zip(probability.split(self.choices, -1), centred.split(self.choices, -1), strict=True)
        for d, (of_dimension, q) in enumerate(parts):
            below = of_dimension.cumsum(-1)
            wanted = uniform[:, d] * below[..., -1:]  # rounding leaves the sum beside 1
            drawn = torch.searchsorted(below, wanted).clamp_max(of_dimension.shape[-1] - 1)
            total = total + q.gather(-1, drawn.expand(*q.shape[:-1], DRAWS))
        return total.amin(0).mean(-1)

    def gain(self, head: Tensor, rows: Tensor, temperature: Tensor, guide: Tensor) -> Tensor:
        """sum_d sum_k (pi_dk - p_dk) q_dk, [...]."""
        tilt = (self._centred(guide, rows) / temperature).clamp(-2 * LARGEST_SHIFT, 2 * LARGEST_SHIFT)
        improved = taken(self.probability, rows) * tilt.exp()
        improved = improved / self._of_each_dimension(improved)
        return (improved * self._centred(head, rows)).sum(-1)

    def gain_under(self, head: Tensor, rows: Tensor, target: Target) -> Tensor:
        """sum_d sum_k (pi_dk - p_dk) q_dk, [...]."""
        return (taken(target.mean, rows) * self._centred(head, rows)).sum(-1)


@torch.no_grad()
def centring(beta: Behaviour, samples: Samples) -> Centring:
    """The centring that fits the log: the noise of its actions, or the probabilities of its choices, under beta."""
    if beta.is_discrete:
        return Choices(samples.action, _probabilities(beta, samples), beta.spec.dimensions)
    noise = samples.at_every_row(partial(_noise, beta, samples))
    row, column = torch.triu_indices(noise.shape[-1], noise.shape[-1], device=noise.device)
    return GaussianNoise(noise, row, column)


@torch.no_grad()
def target_of(policy: Policy, beta: Behaviour, samples: Samples) -> Target:
    """A policy in the coordinates of beta's noise, or its probabilities of the choices, at every row."""
    if beta.is_discrete:
        return Target(_probabilities(policy, samples), torch.empty(0))
    both = samples.at_every_row(partial(_seen_from, beta, policy, samples))
    return Target(both[:, 0], both[:, 1])


def _noise(beta: Behaviour, samples: Samples, rows: Tensor) -> Tensor:
    """What chance added to beta's mean, in standard deviations, [B, A]."""
    mean, log_std = beta.mean_and_log_std(*_inputs(beta, samples, rows))
    return (samples.gaussian_action[rows] - mean) * torch.exp(-log_std)


def _seen_from(beta: Behaviour, policy: Policy, samples: Samples, rows: Tensor) -> Tensor:
    """Mean and variance of a policy's noise where beta's is N(0, I), [B, 2, A]."""
    mean, log_std = policy.mean_and_log_std(*_inputs(policy, samples, rows))
    beta_mean, beta_log_std = beta.mean_and_log_std(*_inputs(beta, samples, rows))
    shift = (mean - beta_mean) * torch.exp(-beta_log_std)
    return torch.stack([shift, torch.exp(2 * (log_std - beta_log_std))], 1)


def _probabilities(policy: Behaviour, samples: Samples) -> Tensor:
    def of(rows: Tensor) -> Tensor:
        logits = policy.logits(*_inputs(policy, samples, rows))
        return torch.cat([part.softmax(-1) for part in logits.split(policy.spec.dimensions, -1)], -1)

    return samples.at_every_row(of)


def _inputs(policy: Behaviour, samples: Samples, rows: Tensor) -> tuple[Tensor, ...]:
    """What the policy is asked with: observations, and the version where it wants to know."""
    observation = samples.observation[rows]
    return (observation, samples.version[rows]) if isinstance(policy, VersionedPolicy) else (observation,)
