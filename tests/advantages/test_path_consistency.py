"""The default advantage against loops, series and an exactly solved chain."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gipo_cli.advantages import Task
from gipo_cli.advantages.path_consistency import _Critic, estimate
from gipo_cli.advantages.traces import discounted_returns
from gipo_cli.training.samples import to_samples
from tests.advantages.corridor import DISCOUNT, coin, corridor_log, exact_advantage, silent


@pytest.fixture(scope="module")
def samples():
    return to_samples(corridor_log(300), 0.1, seed=0, device=torch.device("cpu"))


def fit(samples, updates, seed=0, policy=None):
    return estimate(Task(samples, coin(), policy, DISCOUNT, 0.0, updates, seed, silent))


def test_it_finds_the_exact_advantage_of_a_corridor(samples):
    found = fit(samples, updates=600)
    state, action = samples.observation.argmax(-1).numpy(), samples.action.numpy()
    exact = exact_advantage()[state, action]
    slope, _ = np.polyfit(exact, found.advantage.numpy(), 1)
    assert np.corrcoef(exact, found.advantage.numpy())[0, 1] > 0.9999
    assert slope == pytest.approx(1, abs=0.005)  # 0.99993 to 0.99997 over five seeds
    # The corridor is deterministic: its actions explain all that V does not foresee.
    assert found.explained > 0.999
    assert found.explained_lower is not None
    assert found.explained_lower > 0.999


def test_given_a_policy_it_finds_the_values_of_that_policy_from_the_coins_log(samples):
    right = 0.95
    found = fit(samples, updates=1500, policy=coin(right))
    state, action = samples.observation.argmax(-1).numpy(), samples.action.numpy()
    exact, coins = exact_advantage(right)[state, action], exact_advantage()[state, action]
    slope, _ = np.polyfit(exact, found.advantage.numpy(), 1)
    assert np.corrcoef(exact, found.advantage.numpy())[0, 1] > 0.9999
    assert slope == pytest.approx(1, abs=0.005)  # 1.0000; values take longer to settle than under the coin
    assert np.corrcoef(exact, coins)[0, 1] < 0.97  # the coin's own advantages would not do


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(samples):
    first, again, other = fit(samples, 20), fit(samples, 20), fit(samples, 20, seed=1)
    assert torch.equal(first.advantage, again.advantage)
    assert not torch.equal(first.advantage, other.advantage)


def test_path_returns_agree_with_a_loop_over_the_steps(samples):
    critic = _Critic(samples, coin(), DISCOUNT, seed=0)
    torch.nn.init.normal_(critic.slow_value.head.weight, generator=torch.Generator().manual_seed(0))
    ends = samples.episode_end.nonzero()[:, 0]
    rows = (ends[[1, 4, 9]] - 10)[:, None] + torch.arange(32)  # each runs over the end of an episode
    advantage = torch.randn(rows.shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        found = critic.path_returns(rows, advantage)
        after = critic.value(critic.slow_value, critic.features.after(torch.arange(len(samples.reward))))
    for segment, row in enumerate(rows.tolist()):
        assert samples.episode_end[row].any()  # the loop is worth something only where episodes end inside
        for begin in range(32):
            total, factor = 0.0, 1.0
            for place in range(begin, 32):
                total += factor * (samples.reward[row[place]] - advantage[segment, place])
                factor *= DISCOUNT
                if samples.episode_end[row[place]] or place == 31:
                    total += 0 if samples.terminated[row[place]] else factor * after[row[place]]
                    break
            # Sums of 32 float32 numbers of size 1 in another order.
            assert found[segment, begin].item() == pytest.approx(float(total), abs=1e-4)


def test_discounted_returns_of_a_reward_of_one_are_a_geometric_series(samples):
    ones = replace(samples, reward=torch.ones_like(samples.reward))
    returns = discounted_returns(ones, DISCOUNT)
    ends = samples.episode_end.nonzero()[:, 0].tolist()
    done = next(end for end in ends if samples.terminated[end])
    cut = next(end for end in ends if not samples.terminated[end])
    assert returns[done].item() == 1
    # A cut episode goes on at the mean reward, here 1, for ever.
    assert returns[cut].item() == pytest.approx(1 / (1 - DISCOUNT), rel=1e-6)
