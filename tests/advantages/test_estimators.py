"""Every estimator against advantages that a linear solve knows."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from gipo_cli.advantages import Task
from gipo_cli.advantages.ensemble import agreed
from gipo_cli.data.trajectories import ActionSpace, Trajectories
from gipo_cli.registry import ADVANTAGES
from gipo_cli.training.samples import to_samples
from tests.advantages.corridor import DISCOUNT, RIGHT, coin, corridor_log, exact_advantage, silent


@pytest.fixture(scope="module")
def samples():
    return to_samples(corridor_log(300), 0.1, seed=0, device=torch.device("cpu"))


def estimate(name, samples, policy=None, *, updates=1000, discount=DISCOUNT, **settings):
    task = Task(samples, coin(), policy, discount, 0.0, updates, 0, silent)
    return ADVANTAGES.load(name)(task, **settings)


def fit_to(found, exact, samples):
    """Correlation with the exact advantages, and the slope on them."""
    state, action = samples.observation.argmax(-1).numpy(), samples.action.numpy()
    wanted = exact[state, action]
    advantage = found.advantage.double().numpy()
    return np.corrcoef(wanted, advantage)[0, 1], np.polyfit(wanted, advantage, 1)[0]


OF_BETA = {
    "path-consistency": {}, "monte-carlo": {}, "gae": {}, "td-lambda": {}, "v-trace": {},
    "expectile": {"expectile": 0.5}, "ensemble": {"confidence": 0.0},
}  # fmt: skip


def test_no_estimator_is_left_out():
    assert set(OF_BETA) == set(ADVANTAGES.places)


@pytest.mark.parametrize("name", OF_BETA)
def test_it_finds_the_advantages_of_the_policy_that_acted(samples, name):
    found = estimate(name, samples, **OF_BETA[name])
    correlation, slope = fit_to(found, exact_advantage(), samples)
    # The log is one sample of 300 episodes: its returns differ from their means, and with them V and the advantages.
    assert correlation > 0.99
    assert slope == pytest.approx(1, abs=0.1)
    # The mean under beta is 0 in every state: two choices of a fair share each, exactly.
    right = samples.action == 1
    state = samples.observation.argmax(-1)
    for k in range(samples.observation.shape[1]):
        of = [found.advantage[(state == k) & which].mean() for which in (~right, right)]
        assert abs((1 - RIGHT) * of[0] + RIGHT * of[1]) < 1e-3
    assert found.explained > 0.9


def test_v_trace_finds_the_advantages_of_another_policy(samples):
    found = estimate("v-trace", samples, coin(0.8), rho_bar=100.0, c_bar=100.0)
    correlation, slope = fit_to(found, exact_advantage(0.8), samples)
    assert correlation > 0.99
    assert slope == pytest.approx(1, abs=0.1)
    # The paths of the log add up with the advantages over that policy's usual action; over beta's own they do not.
    assert found.explained > 0.9


def test_v_trace_cut_at_1_has_the_values_of_the_policy_between(samples):
    # Proportional to min(beta, pi): 0.2 to the left and 0.6 to the right, so 0.75 of it goes right.
    found = estimate("v-trace", samples, coin(0.8), rho_bar=1.0, c_bar=1.0)
    errors = {}
    for right in (RIGHT, 0.75, 0.95):
        state, action = samples.observation.argmax(-1).numpy(), samples.action.numpy()
        errors[right] = np.square(found.advantage.numpy() - exact_advantage(right)[state, action]).mean()
    assert errors[0.75] < 0.2 * min(errors[RIGHT], errors[0.95])


def bandit(n=3000):
    """One step: the right arm pays 1, the left one nothing."""
    action = (np.random.default_rng(0).random(n) < RIGHT).astype(np.int64)
    ones = np.ones(n, bool)
    return Trajectories(
        "bandit", "test", np.ones((n, 5), np.float32), action, action.astype(np.float64),
        np.log(np.where(action == 1, RIGHT, 1 - RIGHT)), ones, ~ones, np.ones((n, 5), np.float32), np.arange(n + 1),
        ActionSpace((), n=2), "categorical",
    )  # fmt: skip


@pytest.mark.parametrize("expectile", [0.5, 0.9])
def test_the_expectile_of_a_bandit_takes_its_closed_form(expectile):
    arms = to_samples(bandit(), 0.1, seed=0, device=torch.device("cpu"))
    share = arms.reward[arms.held_in_rows].mean().item()
    found = estimate("expectile", arms, expectile=expectile, centred=0.0)
    # tau p (1 - v) = (1 - tau) (1 - p) v
    value = expectile * share / (expectile * share + (1 - expectile) * (1 - share))
    # min(Q) of the arms is 0 and 1 where both critics have settled; a slow copy is a little behind.
    assert found.advantage[arms.action == 1].mean().item() == pytest.approx(1 - value, abs=0.03)
    assert found.advantage[arms.action == 0].mean().item() == pytest.approx(-value, abs=0.03)


def test_smoothing_takes_the_luck_out(samples):
    raw = estimate("monte-carlo", samples, smooth=0.0)
    smooth = estimate("monte-carlo", samples)
    assert fit_to(smooth, exact_advantage(), samples)[0] > fit_to(raw, exact_advantage(), samples)[0] + 0.1
    assert raw.advantage[samples.held_in_rows].mean().abs() < 1e-4
    half = estimate("monte-carlo", samples, smooth=0.5)
    torch.testing.assert_close(half.advantage, 0.5 * (raw.advantage + smooth.advantage), atol=1e-5, rtol=1e-5)


def test_rewards_that_are_luck_alone_leave_nothing(samples):
    luck = torch.randn(len(samples.reward), generator=torch.Generator().manual_seed(5))
    lucky = replace(samples, reward=luck)
    found = estimate("gae", lucky)
    assert found.advantage.std() < 0.2 * luck.std()
    assert abs(found.explained) < 0.05


def test_members_that_disagree_leave_nothing_and_those_that_agree_all_but_their_spread():
    members = torch.tensor([[1.0, 1.0, -3.0], [1.0, -1.0, -1.0]])  # sd 0, 1.41, 1.41
    torch.testing.assert_close(agreed(members, 1.0), torch.tensor([1.0, 0.0, -(2 - 2**0.5)]))
    torch.testing.assert_close(agreed(members, 0.0), members.mean(0))


@pytest.mark.parametrize("name", ADVANTAGES.places)
def test_a_policy_trains_on_them(gipo, cartpole_log, tmp_path, name):
    outcome = gipo(
        "train", "--dataset", cartpole_log, "--out", tmp_path / "run", "--advantage", name, "--json", "--quiet",
        "--steps", "100", "--set", "critic_steps=400", "--set", "learning_rate=1e-3", "--set", "certify=false",
        "--set", "rounds=2", "--set", "checkpoint_every=50", "--set", "report_every=50",
    )  # fmt: skip
    assert outcome.exit_code == 0, outcome.stderr
    summary = json.loads(outcome.stdout)
    assert (summary["advantage"], summary["status"]) == (name, "finished")
    # 40 episodes: the two that lean on whole returns or ratios find nothing that other episodes bear out, and say so.
    least = 0.0 if name in ("monte-carlo", "v-trace") else 0.02
    assert summary["held_out"]["surrogate"] >= least
