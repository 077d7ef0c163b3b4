"""One network for several versions of a policy."""

import pytest
import torch

from gipo_cli.policies.policy import Policy, PolicySpec
from gipo_cli.policies.versions import VersionedPolicy

KINDS = ["gaussian", "tanh_gaussian", "categorical"]


def make(kind):
    torch.manual_seed(0)
    policy = VersionedPolicy(PolicySpec(kind, observation_size=3, action_size=2, hidden_sizes=(16, 8)), versions=4)
    torch.nn.init.normal_(policy.first_bias)
    policy.shared.observation_mean.fill_(0.5)
    return policy


def rows(kind, n=40):
    generator = torch.Generator().manual_seed(1)
    observation, version = torch.randn(n, 3, generator=generator), torch.arange(n) % 4
    action = torch.randn(n, 2, generator=generator)
    if kind == "categorical":
        return observation, torch.arange(n) % 2, None, version
    return observation, action.tanh(), action if kind == "tanh_gaussian" else None, version


@pytest.mark.parametrize("kind", KINDS)
def test_a_version_taken_out_says_what_it_said_inside(kind):
    policy = make(kind)
    observation, action, pre_squash, version = rows(kind)
    together = policy.log_prob(observation, action, pre_squash, version)
    for k in range(4):
        of, alone = version == k, policy.at(k)
        assert isinstance(alone, Policy)
        apart = alone.log_prob(observation[of], action[of], None if pre_squash is None else pre_squash[of])
        # The bias is added before the product in one and after it in the other: float32 rounding.
        torch.testing.assert_close(apart, together[of], rtol=1e-5, atol=1e-5)


def test_versions_differ_and_each_learns_from_its_own_rows():
    policy = make("gaussian")
    observation, action, _, version = rows("gaussian")
    assert not torch.allclose(policy.at(0).mode(observation), policy.at(1).mode(observation))
    policy.log_prob(observation, action, None, torch.where(version == 2, 1, version)).sum().backward()
    assert policy.first_bias.grad is not None
    assert (policy.first_bias.grad.abs().sum(-1) > 0).tolist() == [True, True, False, True]


def test_a_version_taken_out_is_a_copy():
    policy = make("gaussian")
    before = policy.shared.fc0.bias.detach().clone()
    with torch.no_grad():
        policy.at(1).fc0.bias.add_(1)
    assert torch.equal(policy.shared.fc0.bias, before)
