"""The random policy: every action alike, and what its log-prob is the density of."""

import math

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, MultiDiscrete

from gipo_cli.errors import SettingError
from gipo_cli.policies.uniform import UniformPolicy


def sample(environment_id, rows=20_000):
    policy = UniformPolicy(gymnasium.make(environment_id), environment_id)
    return policy.spec, *policy.sample(
        torch.zeros(rows, policy.spec.observation_size), torch.Generator().manual_seed(0)
    )


def test_real_actions_fill_the_square_evenly():
    spec, action, log_prob, u = sample("Pendulum-v1")
    assert spec.distribution == "tanh_gaussian"
    shares = torch.histc(action, 10, -1, 1) / len(action)
    assert (shares - 0.1).abs().max() < 4 * math.sqrt(0.09 / len(action))  # 4 standard errors of a share
    assert log_prob.unique().tolist() == pytest.approx([-math.log(2)])
    torch.testing.assert_close(torch.tanh(u), action, atol=1e-6, rtol=0)
    # Logistic of scale 1/2: what makes a squashed Gaussian the nearest policy that learns.
    assert u.var().item() == pytest.approx(math.pi**2 / 12, rel=0.03)


def test_a_squashed_gaussian_is_far_nearer_than_a_gaussian():
    _, action, log_prob, u = sample("Pendulum-v1", 200_000)
    in_u = 0.5 * math.log(2 * math.pi * math.e * u.double().var().item())
    of_u = (log_prob.double() + torch.log1p(-(action.double().squeeze(-1) ** 2))).mean().item()  # log density of u
    in_a = 0.5 * math.log(2 * math.pi * math.e * action.double().var().item())
    assert in_u + of_u == pytest.approx(0.014, abs=0.004)
    assert in_a + log_prob.double().mean().item() == pytest.approx(0.177, abs=0.004)


def test_the_log_prob_is_that_of_all_dimensions_together():
    env = gymnasium.make("Pendulum-v1").unwrapped
    env.action_space = Box(-0.4, 0.4, (3,))
    _, log_prob, _ = UniformPolicy(env, "Pendulum-v1").sample(torch.zeros(2, 3), torch.Generator())
    assert log_prob.tolist() == pytest.approx([-3 * math.log(2)] * 2)


def test_choices_are_alike():
    spec, action, log_prob, u = sample("Acrobot-v1")
    assert (spec.distribution, u) == ("categorical", None)
    shares = np.bincount(action.numpy()) / len(action)
    assert np.abs(shares - 1 / 3).max() < 4 * math.sqrt(2 / 9 / len(action))
    assert log_prob.unique().tolist() == pytest.approx([-math.log(3)])


def test_nothing_is_uniform_without_bounds():
    env = gymnasium.make("Pendulum-v1").unwrapped
    env.action_space = Box(-np.inf, np.inf, (1,))
    with pytest.raises(SettingError) as refused:
        UniformPolicy(env, "Pendulum-v1")
    assert refused.value.message == (
        "Pendulum-v1 has actions without bounds; a random policy needs bounds to be uniform between."
    )


def test_more_choices_than_any_policy_has_are_refused():
    env = gymnasium.make("Pendulum-v1").unwrapped
    env.action_space = MultiDiscrete([3_000_000, 2])
    with pytest.raises(SettingError, match="has 3,000,002 choices; no policy here has more than 65,536"):
        UniformPolicy(env, "Big-v0")
    env.action_space = MultiDiscrete([3, 5])
    action, log_prob, pre_squash = UniformPolicy(env, "Small-v0").sample(torch.zeros(1000, 3), torch.Generator())
    assert action.max(0).values.tolist() == [2, 4]
    assert pre_squash is None
    torch.testing.assert_close(log_prob, torch.full((1000,), -math.log(15)))
