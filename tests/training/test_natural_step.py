"""TRPO's update against the exact natural gradient."""

import math

import pytest
import torch
from torch.distributions import Categorical, Normal, kl_divergence

from gipo_cli.policies.distributions import categorical_kl, gaussian_kl
from gipo_cli.policies.policy import Policy, PolicySpec
from gipo_cli.training.natural_step import DAMPING, _solve, natural_step


def make(kind):
    torch.manual_seed(0)
    return Policy(PolicySpec(kind, observation_size=3, action_size=2, hidden_sizes=(5,)))


def observations(n=200):
    return torch.randn(n, 3, generator=torch.Generator().manual_seed(1))


def test_divergences_are_those_of_torch():
    generator = torch.Generator().manual_seed(0)
    mean, log_std, other, other_log_std = torch.randn(4, 50, 3, generator=generator, dtype=torch.float64)
    expected = kl_divergence(Normal(mean, log_std.exp()), Normal(other, other_log_std.exp())).sum(-1)
    torch.testing.assert_close(gaussian_kl(mean, log_std, other, other_log_std), expected)
    expected = kl_divergence(Categorical(logits=mean), Categorical(logits=other))
    torch.testing.assert_close(categorical_kl(mean, other), expected)


def test_conjugate_gradients_solve_a_system_exactly_in_as_many_steps_as_it_has_rows():
    root = torch.randn(8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    matrix = root @ root.T + torch.eye(8)
    right = torch.arange(8.0, dtype=torch.float64)
    torch.testing.assert_close(_solve(lambda v: matrix @ v, right), torch.linalg.solve(matrix, right))


def test_one_number_takes_the_closed_form():
    # A Gaussian of known width s whose only free number is its mean: F = 1 / s^2, so for any loss of slope g the step
    # is -sign(g) sqrt(2 radius F) / F, here damped: size = sqrt(2 radius / (F + damping)), whatever g is.
    policy = Policy(PolicySpec("gaussian", 1, 1, (2,), state_dependent_std=False))
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.requires_grad_(False).zero_()
        policy.log_std.fill_(torch.tensor(0.5).log())
    policy.last_fc.bias.requires_grad_()
    moved = natural_step(policy, lambda: 7 * policy.last_fc.bias.sum(), torch.zeros(4, 1), radius=0.02)
    step = policy.last_fc.bias.item()
    assert step == pytest.approx(-((0.04 / (4 + DAMPING)) ** 0.5), rel=1e-5)
    assert moved == pytest.approx(step**2 / (2 * 0.25), rel=1e-4)
    assert moved <= 0.02


@pytest.mark.parametrize("kind", ["gaussian", "tanh_gaussian", "categorical"])
def test_it_stays_within_the_radius_and_lowers_the_loss(kind):
    policy, observation = make(kind), observations()
    action, old, pre_squash = policy.sample(observation, torch.Generator().manual_seed(2))
    advantage = torch.randn(len(observation), generator=torch.Generator().manual_seed(3))

    def loss():
        return -((policy.log_prob(observation, action, pre_squash) - old).exp() * advantage).mean()

    before = loss().item()
    parameters = torch.nn.utils.parameters_to_vector(policy.parameters()).detach().clone()
    moved = natural_step(policy, loss, observation, radius=0.01)
    assert 0.001 < moved <= 0.01  # damping and a halving or two leave part of the radius unused
    assert loss().item() < before
    assert not torch.equal(torch.nn.utils.parameters_to_vector(policy.parameters()), parameters)


def test_a_loss_that_nothing_lowers_leaves_the_policy_alone():
    policy = make("gaussian")
    parameters = torch.nn.utils.parameters_to_vector(policy.parameters()).detach().clone()
    noise = iter(range(1000))

    def rising():
        return next(noise) + 0.0 * sum(p.sum() for p in policy.parameters())

    assert natural_step(policy, rising, observations(), radius=0.01) == 0.0
    assert torch.equal(torch.nn.utils.parameters_to_vector(policy.parameters()), parameters)
    slope = iter([0.0] + [1.0] * 100)

    def misleading():
        return next(slope) + (lambda total: total - total.detach())(sum(p.sum() for p in policy.parameters()))

    assert natural_step(policy, misleading, observations(), radius=0.01) == 0.0
    assert torch.equal(torch.nn.utils.parameters_to_vector(policy.parameters()), parameters)


def test_a_step_whose_divergence_is_more_than_its_quadratic_is_halved():
    # log std d nats lower: the divergence is (exp(2 d) - 1) / 2 - d, where the quadratic says d^2.
    policy = Policy(PolicySpec("gaussian", 1, 1, (2,), state_dependent_std=False))
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.requires_grad_(False).zero_()
    policy.log_std.requires_grad_()
    moved = natural_step(policy, lambda: policy.log_std.sum(), torch.zeros(4, 1), radius=1.0)
    whole = (2 / (2 + DAMPING)) ** 0.5
    assert (math.exp(2 * whole) - 1) / 2 - whole > 1 > whole**2
    assert policy.log_std.item() == pytest.approx(-whole / 2, rel=1e-5)
    assert moved == pytest.approx((math.exp(whole) - 1) / 2 - whole / 2, rel=1e-5)
