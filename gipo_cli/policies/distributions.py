"""Log-probabilities and divergences of the four conventions that logs speak."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)
# The largest float32 below 1. atanh of it is 8.66: an action that float32 rounded to 1 came from beyond that.
LARGEST_BELOW_ONE = 1 - 2**-24


def gaussian_log_prob(mean: Tensor, log_std: Tensor, action: Tensor) -> Tensor:
    """Log density of a diagonal Gaussian, summed over the dimensions of the action.

        log N(a; mean, std) = -sum((a - mean)^2 / (2 std^2) + log std + log(2 pi) / 2)

    It is the density of the action that was *sampled*; an environment that clips actions does not change it.

    Args:
        mean: [..., A].
        log_std: natural log of the standard deviation, [..., A].
        action: [..., A].

    Returns:
        Joint log density, [...], in nats; it may be positive.
    """
    return gaussian_log_prob_parts(mean, log_std, action).sum(-1)


def gaussian_log_prob_parts(mean: Tensor, log_std: Tensor, action: Tensor) -> Tensor:
    """Log density of each dimension by itself, [..., A]; `gaussian_log_prob` is their sum."""
    standardised = (action - mean) * torch.exp(-log_std)
    return -(0.5 * standardised**2 + log_std + HALF_LOG_TWO_PI)


def tanh_gaussian_log_prob(mean: Tensor, log_std: Tensor, pre_squash: Tensor) -> Tensor:
    """Log density of a = tanh(u), u Gaussian, with the Jacobian of the squashing.

        log p(a) = log N(u) - sum(log(1 - tanh(u)^2)),   log(1 - tanh(u)^2) = 2 (log 2 - u - softplus(-2u))

    Takes u, not a: in float32 tanh(u) is 1 from u = 9.02 on and nothing can be recovered from it.

    Args:
        mean: of u, [..., A].
        log_std: of u, [..., A].
        pre_squash: u, [..., A].

    Returns:
        Joint log density of a, [...], in nats.

    Source: Haarnoja et al. 2018, arXiv:1812.05905, appendix C; the stable form is rlkit's `TanhNormal`.
    """
    return gaussian_log_prob(mean, log_std, pre_squash) - _log_jacobian(pre_squash).sum(-1)


def tanh_gaussian_log_prob_parts(mean: Tensor, log_std: Tensor, pre_squash: Tensor) -> Tensor:
    """Log density of each dimension by itself, [..., A]; `tanh_gaussian_log_prob` is their sum."""
    return gaussian_log_prob_parts(mean, log_std, pre_squash) - _log_jacobian(pre_squash)


def _log_jacobian(pre_squash: Tensor) -> Tensor:
    """log(1 - tanh(u)^2), stable however large u is."""
    return 2 * (math.log(2) - pre_squash - F.softplus(-2 * pre_squash))


def pre_squash(action: Tensor) -> Tensor:
    """The u with tanh(u) = a; finite even where float32 has rounded a to 1."""
    return torch.atanh(action.clamp(-LARGEST_BELOW_ONE, LARGEST_BELOW_ONE))


def categorical_log_prob(logits: Tensor, action: Tensor) -> Tensor:
    """Log probability of the chosen index.

    Args:
        logits: unnormalised log probabilities, [..., K].
        action: index of the choice, [...] int64.

    Returns:
        Log probability, [...]; never positive.
    """
    return F.log_softmax(logits, -1).gather(-1, action.unsqueeze(-1)).squeeze(-1)


def multi_categorical_log_prob(logits: Tensor, action: Tensor, choices: tuple[int, ...]) -> Tensor:
    """Log probability of a choice in each dimension, which are drawn one by one.

        log pi(a) = sum_d log softmax(logits_d)[a_d]

    Args:
        logits: unnormalised log probabilities, those of dimension 0 first, [..., sum of choices].
        action: index of the choice within its dimension, [..., A] int64.
        choices: of each dimension, A of them.

    Returns:
        Joint log probability, [...]; never positive.
    """
    return multi_categorical_log_prob_parts(logits, action, choices).sum(-1)


def multi_categorical_log_prob_parts(logits: Tensor, action: Tensor, choices: tuple[int, ...]) -> Tensor:
    """Log probability of each dimension by itself, [..., A]; `multi_categorical_log_prob` is their sum."""
    parts = logits.split(choices, -1)
    return torch.stack([categorical_log_prob(part, action[..., d]) for d, part in enumerate(parts)], -1)


def gaussian_kl(mean: Tensor, log_std: Tensor, other_mean: Tensor, other_log_std: Tensor) -> Tensor:
    """KL(N || other) of diagonal Gaussians; squashing both with one function does not change it.

        sum(log other_std - log std + (std^2 + (mean - other_mean)^2) / (2 other_std^2) - 1 / 2)

    Args:
        mean: [..., A]; so are all.
        log_std: natural log of the standard deviation.
        other_mean: of the second.
        other_log_std: of the second.

    Returns:
        [...], in nats.
    """
    log_scale = log_std - other_log_std
    apart = (mean - other_mean) * torch.exp(-other_log_std)
    return (0.5 * (torch.exp(2 * log_scale) + apart**2 - 1) - log_scale).sum(-1)


def categorical_kl(logits: Tensor, other_logits: Tensor) -> Tensor:
    """KL(p || other), [...], in nats, of unnormalised log probabilities, [..., K]."""
    log_p, log_q = F.log_softmax(logits, -1), F.log_softmax(other_logits, -1)
    return (log_p.exp() * (log_p - log_q)).sum(-1)


def multi_categorical_kl(logits: Tensor, other_logits: Tensor, choices: tuple[int, ...]) -> Tensor:
    """KL(p || other), [...], in nats: the sum of the dimensions' own, which are independent given the state."""
    pairs = zip(logits.split(choices, -1), other_logits.split(choices, -1), strict=True)
    return torch.stack([categorical_kl(part, other) for part, other in pairs]).sum(0)
