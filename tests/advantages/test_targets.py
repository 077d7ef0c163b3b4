"""A policy seen through the behaviour policy's noise."""

import pytest
import torch

from gipo_cli.advantages.centring import centring, target_of
from gipo_cli.policies.policy import Policy, PolicySpec
from gipo_cli.training.samples import Samples

N = 200_000


def samples_of(beta):
    """One state, many actions of beta."""
    observation = torch.ones(N, 2)
    action, log_prob, pre_squash = beta.sample(observation, torch.Generator().manual_seed(0))
    zeros, rows = torch.zeros(N), torch.arange(N)
    flags = zeros.bool()
    return Samples(
        observation, action, pre_squash, zeros, log_prob, observation, flags, flags, rows, torch.zeros_like(rows),
        ~flags, flags, rows, rows[:0],
    )  # fmt: skip


def make(kind, seed):
    torch.manual_seed(seed)
    return Policy(PolicySpec(kind, 2, 3, (8,)))


@pytest.mark.parametrize("kind", ["gaussian", "tanh_gaussian", "categorical"])
def test_the_gain_under_a_policy_is_the_advantage_weighted_by_the_ratio(kind):
    beta, policy = make(kind, 1), make(kind, 2)
    samples = samples_of(beta)
    rows = torch.arange(N)
    centred = centring(beta, samples)
    head = torch.randn(centred.head_size, generator=torch.Generator().manual_seed(3)).expand(N, -1)
    with torch.no_grad():
        ratio = samples.log_ratio(policy, rows).exp()
    weighted = ratio * centred.advantage(head, rows)
    exact = centred.gain_under(head, rows, target_of(policy, beta, samples))[0]
    # E over beta of ratio * A is E over pi of A: exact but for sampling, 5 standard errors.
    assert abs(weighted.mean() - exact) < 5 * weighted.std() / N**0.5
    assert exact.abs() > 20 * weighted.std() / N**0.5  # or nothing would be tested
