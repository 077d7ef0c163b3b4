"""Sums that run backward through episodes, against loops and identities."""

import pytest
import torch

from gipo_cli.advantages.traces import backward, lambda_returns, v_trace
from gipo_cli.training.samples import to_samples
from tests.advantages.corridor import DISCOUNT, corridor_log


@pytest.fixture(scope="module")
def samples():
    return to_samples(corridor_log(40, cut=12), 0.1, seed=0, device=torch.device("cpu"))


@pytest.fixture(scope="module")
def values(samples):
    """V of each row and of the observation after it; 0 after a terminated step, of its own where it was cut."""
    value = torch.randn(len(samples.reward), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    after = torch.cat([value[1:], value[:1]])
    cut = samples.episode_end & ~samples.terminated
    return value, torch.where(cut, 7.0, after).masked_fill(samples.terminated, 0.0)


@pytest.mark.parametrize("length", [1, 2, 7, 64, 100])
def test_the_recursion_is_that_of_a_loop(length):
    generator = torch.Generator().manual_seed(length)
    amount, factor = torch.rand(2, length, generator=generator, dtype=torch.float64)
    factor[-1] = 0
    factor[length // 3] = 0
    expected, following = torch.zeros_like(amount), 0.0
    for t in reversed(range(length)):
        following = amount[t] + factor[t] * following
        expected[t] = following
    torch.testing.assert_close(backward(amount, factor), expected)


def loop(samples, value_after, decay):
    """G_t = r_t + gamma ((1 - lambda) V(s_{t+1}) + lambda G_{t+1}), one row at a time."""
    returns = torch.zeros(len(samples.reward), dtype=torch.float64)
    for t in reversed(range(len(returns))):
        rest = value_after[t]
        if not samples.episode_end[t]:
            rest = (1 - decay) * rest + decay * returns[t + 1]
        returns[t] = samples.reward[t] + DISCOUNT * rest
    return returns


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.95, 1.0])
def test_lambda_returns_are_those_of_a_loop_and_end_with_their_episode(samples, values, decay):
    assert (samples.episode_end & ~samples.terminated).any()
    assert samples.terminated.any()
    found = lambda_returns(samples, values[1], DISCOUNT, decay)
    torch.testing.assert_close(found, loop(samples, values[1], decay))


def test_their_two_ends(samples, values):
    one_step = samples.reward.double() + DISCOUNT * values[1]
    torch.testing.assert_close(lambda_returns(samples, values[1], DISCOUNT, 0.0), one_step)
    # lambda = 1 asks V only where an episode was cut.
    only_cut = values[1] * (samples.episode_end & ~samples.terminated)
    torch.testing.assert_close(
        lambda_returns(samples, values[1], DISCOUNT, 1.0), lambda_returns(samples, only_cut, DISCOUNT, 1.0)
    )


@pytest.mark.parametrize("decay", [0.0, 0.6, 1.0])
def test_less_the_value_they_are_decayed_one_step_errors(samples, values, decay):
    value, after = values
    error = samples.reward + DISCOUNT * after - value
    gae = backward(error, DISCOUNT * decay * (~samples.episode_end).double())
    torch.testing.assert_close(lambda_returns(samples, after, DISCOUNT, decay) - value, gae)


@pytest.mark.parametrize("decay", [0.5, 1.0])
def test_v_trace_on_policy_is_the_lambda_return(samples, values, decay):
    value, after = values
    target, advantage = v_trace(
        samples, value, after, torch.zeros_like(value), DISCOUNT, rho_bar=1.0, c_bar=1.0, decay=decay
    )
    torch.testing.assert_close(target, lambda_returns(samples, after, DISCOUNT, decay))
    torch.testing.assert_close(advantage, target - value)


@pytest.mark.parametrize(("rho_bar", "c_bar", "decay"), [(1.0, 1.0, 1.0), (2.0, 0.7, 0.9), (0.5, 3.0, 1.0)])
def test_v_trace_is_that_of_a_loop(samples, values, rho_bar, c_bar, decay):
    value, after = values
    log_ratio = 0.7 * torch.randn(len(value), generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    target, advantage = v_trace(
        samples, value, after, log_ratio, DISCOUNT, rho_bar=rho_bar, c_bar=c_bar, decay=decay
    )  # fmt: skip
    ratio, expected, earned = log_ratio.exp(), torch.zeros_like(value), torch.zeros_like(value)
    for t in reversed(range(len(value))):
        over = 0.0 if samples.episode_end[t] else expected[t + 1] - value[t + 1]
        gap = samples.reward[t] + DISCOUNT * after[t] - value[t]
        expected[t] = value[t] + min(rho_bar, ratio[t]) * gap + DISCOUNT * decay * min(c_bar, ratio[t]) * over
        earned[t] = samples.reward[t] + DISCOUNT * (after[t] + decay * over) - value[t]
    torch.testing.assert_close(target, expected)
    torch.testing.assert_close(advantage, earned)
