"""The fixed point against a linear solve, and what is learned of a corridor of which everything is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gipo_cli.advantages.standardised import Standardised as features_of
from gipo_cli.data.trajectories import ActionSpace
from gipo_cli.evaluation.evidence import gather
from gipo_cli.evaluation.fitted import traced
from gipo_cli.evaluation.inputs import DRAWS, WIDEST, of_actions
from gipo_cli.evaluation.offline import crossed_folds, own_folds
from gipo_cli.evaluation.temporal_differences import solve, sums
from gipo_cli.policies.policy import Policy, PolicySpec
from gipo_cli.training.samples import to_samples
from tests.advantages.corridor import DISCOUNT, RIGHT, STATES, coin, corridor_log, exact, silent

TARGET = 0.75  # how often the policy goes right; the log's goes right with RIGHT


def tabular(states, actions, following, rewards, terminated, ratio, starts, chance):
    """The linear system with a feature for each state and action, and with one for each state."""
    pairs = torch.eye(2 * STATES)[2 * states + actions]
    after = sum(p * torch.eye(2 * STATES)[2 * following + a] for a, p in enumerate(chance)) * (~terminated)[:, None]
    begin = sum(p * torch.eye(2 * STATES)[2 * starts + a] for a, p in enumerate(chance))
    of_pairs = sums(pairs[None], pairs[None], after[None], rewards), begin.double().sum(0, keepdim=True)
    lone, lone_after = torch.eye(STATES)[states], torch.eye(STATES)[following] * (~terminated)[:, None]
    of_states = (
        sums((lone * ratio[:, None])[None], lone[None], lone_after[None], rewards),
        torch.eye(STATES)[starts].double().sum(0, keepdim=True),
    )
    return of_pairs, of_states, pairs, lone


@pytest.fixture(scope="module")
def log():
    return corridor_log(600)


def inputs_of(samples, space, policy):
    return of_actions(samples, features_of(samples), space, policy, torch.Generator().manual_seed(0))


def columns_of(log):
    states = torch.tensor(log.observations.argmax(-1))
    following = torch.tensor(log.next_observations().argmax(-1))
    actions, terminated = torch.tensor(log.actions.astype(int)), torch.tensor(log.terminated)
    rewards = torch.tensor(log.rewards, dtype=torch.float32)
    chance = (1 - TARGET, TARGET)
    ratio = torch.where(actions == 1, TARGET / RIGHT, (1 - TARGET) / (1 - RIGHT)).float()
    starts = states[torch.tensor(log.episode_starts[:-1])]
    return states, actions, following, rewards, terminated, ratio, starts, chance


def test_with_a_feature_a_state_and_action_the_fixed_point_is_the_true_q(log):
    of_pairs, *_ = tabular(*columns_of(log))
    theta, _ = solve(*of_pairs, DISCOUNT)
    # The corridor is deterministic, so a log that visits everything determines Q; RIDGE moves it by 1e-6 of itself.
    assert theta[0].reshape(STATES, 2).numpy() == pytest.approx(exact(TARGET)[1], abs=1e-4)


@pytest.mark.parametrize("rows", [1, 2, 7, 64])
def test_a_trace_is_the_loop_and_goes_on_from_the_slice_before(rows):
    rng = torch.Generator().manual_seed(0)
    now, fading = torch.randn(2, rows, 3, generator=rng), torch.rand(rows, generator=rng)
    fading[rows // 2] = 0
    before = torch.randn(2, 3, generator=rng)
    expected, last = [], before
    for t in range(rows):
        last = now[:, t] + fading[t] * last
        expected.append(last)
    assert traced(now, fading, before).numpy() == pytest.approx(torch.stack(expected, 1).numpy(), abs=1e-5)
    cut = rows // 2
    first = traced(now[:, :cut], fading[:cut], before) if cut else None
    rest = traced(now[:, cut:], fading[cut:], before if first is None else first[:, -1])
    assert rest[:, -1].numpy() == pytest.approx(last.numpy(), abs=1e-5)


@pytest.mark.parametrize("decay", [0.5, 0.95])
def test_a_trace_leaves_the_fixed_point_where_it_is(log, decay):
    states, actions, following, rewards, terminated, ratio, _, chance = columns_of(log)
    pairs = torch.eye(2 * STATES)[2 * states + actions]
    after = sum(p * torch.eye(2 * STATES)[2 * following + a] for a, p in enumerate(chance)) * (~terminated)[:, None]
    fading = decay * DISCOUNT * ratio.clamp(max=1)
    fading[torch.tensor(log.episode_starts[:-1])] = 0
    system = sums(traced(pairs[None], fading), pairs[None], after[None], rewards)
    theta, _ = solve(system, torch.ones(1, 2 * STATES, dtype=torch.float64), DISCOUNT)
    assert theta[0].reshape(STATES, 2).numpy() == pytest.approx(exact(TARGET)[1], abs=1e-4)


def test_the_dual_makes_visits_flow_and_prices_rewards_as_the_fixed_point_does(log):
    columns = columns_of(log)
    rewards, ratio = columns[3], columns[5]
    of_pairs, of_states, pairs, lone = tabular(*columns)
    for (system, start), test in ((of_pairs, pairs), (of_states, lone * ratio[:, None])):
        theta, alpha = solve(system, start, DISCOUNT)
        weight = test.double() @ alpha[0]
        assert (weight @ rewards.double()).item() == pytest.approx((start[0] @ theta[0]).item(), rel=1e-4)
        # Every visit begins at a start or follows one: sum w (phi - gamma phi') = sum of phi at the starts.
        flow = system.now - DISCOUNT * system.after
        assert (flow[0].T @ alpha[0]).numpy() == pytest.approx(start[0].numpy(), rel=1e-4, abs=1e-3)


def test_what_networks_learn_of_the_corridor_is_its_value(log):
    samples = to_samples(log, 0.3, 0, torch.device("cpu"))
    found = gather(coin(TARGET), samples, log.action_space, own_folds(samples), DISCOUNT, silent, updates=600)
    evidence = found.evidence
    held_out = samples.held_out_rows
    states, actions = log.observations[held_out].argmax(-1), log.actions[held_out].astype(int)
    value, quality = exact(TARGET)
    # Seen: 0.004 at most. Q of the corridor spans 1.3; a policy of the log's own, RIGHT, is worth 0.15 less.
    assert evidence.value == pytest.approx(value[states], abs=0.03)
    assert evidence.quality == pytest.approx(quality[states, actions], abs=0.03)
    mean = value[log.observations[log.episode_starts[:-1]].argmax(-1)].mean()
    assert found.members == pytest.approx([mean, mean], abs=0.03)
    assert evidence.log_ratio == pytest.approx(np.where(actions, np.log(TARGET / RIGHT), np.log(0.25 / 0.4)), abs=1e-5)
    # Weighted, the held-out visits are the policy's own: discounted, they sum to what earns its value.
    earned = np.add.reduceat(evidence.marginal_weight * evidence.reward, evidence.starts).mean()
    assert earned == pytest.approx(mean, abs=0.1)


def test_where_every_ratio_is_0_all_is_0():
    nothing = torch.zeros(1, 5, 3)
    theta, alpha = solve(sums(nothing, nothing, nothing, torch.zeros(5)), torch.zeros(1, 3).double(), DISCOUNT)
    assert not theta.any() and not alpha.any()


def test_crossed_folds_teach_and_ask_every_episode_once(log):
    samples = to_samples(log, 0.1, 0, torch.device("cpu"))
    (first, second), (other, rest) = crossed_folds(samples)
    assert set(first.tolist()) == set(rest.tolist()) and set(second.tolist()) == set(other.tolist())
    asked = samples.episode[torch.cat([second, rest])]
    assert len(asked) == len(samples.reward)
    assert not set(samples.episode[first].tolist()) & set(samples.episode[second].tolist())


def test_a_few_choices_are_all_counted_and_real_numbers_drawn():
    log = corridor_log(4)
    samples = to_samples(log, 0.3, 0, torch.device("cpu"))
    inputs = inputs_of(samples, log.action_space, coin(TARGET))
    read, chance = inputs.expected(torch.arange(3))
    assert read.shape == (3, 2, STATES + 2)
    assert chance.numpy() == pytest.approx(np.tile([1 - TARGET, TARGET], (3, 1)), abs=1e-6)
    spec = PolicySpec("gaussian", STATES, 2, (4,))
    box = ActionSpace((2,), np.full(2, -1.0), np.ones(2))
    real = replace(samples, action=torch.randn(len(samples.reward), 2))
    policy = Policy(spec)
    inputs = inputs_of(real, box, policy)
    read, chance = inputs.expected(torch.arange(3))
    assert read.shape == (3, DRAWS, STATES + 4)
    noise = read[..., -2:]
    assert noise.mean(1).numpy() == pytest.approx(np.zeros((3, 2)), abs=1e-6)  # in opposite pairs
    assert chance.unique().tolist() == [1 / DRAWS]
    # Of the log: what the environment got, standardised, and the noise under the policy.
    mean, log_std = policy.mean_and_log_std(real.observation[:3])
    expected = ((real.action[:3] - mean) / log_std.exp()).clamp(-WIDEST, WIDEST)
    logged = inputs.logged(torch.arange(3))
    assert logged[:, -2:].detach().numpy() == pytest.approx(expected.detach().numpy(), abs=1e-5)
    given = real.action.clamp(-1, 1)
    standardised = (given[:3] - given.mean(0)) / given.std(0, correction=0)
    assert logged[:, STATES:-2].numpy() == pytest.approx(standardised.numpy(), abs=1e-4)


def test_every_choice_has_a_mark_and_many_a_number():
    log = corridor_log(4)
    samples = to_samples(log, 0.3, 0, torch.device("cpu"))
    picked = torch.stack([torch.arange(len(samples.reward)) % 3, torch.arange(len(samples.reward)) % 2], -1)
    several = replace(samples, action=picked)
    policy = Policy(PolicySpec("multi_categorical", STATES, 5, (4,), choices=(3, 2)))
    inputs = inputs_of(several, ActionSpace((2,), nvec=(3, 2)), policy)
    assert inputs.logged(torch.arange(3))[:, STATES:].tolist() == [[1, 0, 0, 1, 0], [0, 1, 0, 0, 1], [0, 0, 1, 1, 0]]
    lone = replace(samples, action=picked[:, :1])  # one dimension, and still a dimension
    policy = Policy(PolicySpec("multi_categorical", STATES, 3, (4,), choices=(3,)))
    inputs = inputs_of(lone, ActionSpace((1,), nvec=(3,)), policy)
    assert inputs.logged(torch.arange(3))[:, STATES:].tolist() == np.eye(3).tolist()
    assert inputs.expected(torch.arange(3))[0].shape == (3, DRAWS, STATES + 3)
    policy = Policy(PolicySpec("multi_categorical", STATES, 512, (4,), choices=(256, 256)))
    inputs = inputs_of(several, ActionSpace((2,), nvec=(256, 256)), policy)
    assert inputs.logged(torch.tensor([2]))[0, STATES:].numpy() == pytest.approx([2 * 2 / 255 - 1, -1])
