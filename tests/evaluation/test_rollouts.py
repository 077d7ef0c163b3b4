"""Rollouts: every episode counts, starts depend on (seed, episode) alone; scores and intervals by hand."""

import sys

import gymnasium
import numpy as np
import pytest
from gymnasium.error import DependencyNotInstalled

from gipo_cli.errors import SettingError
from gipo_cli.evaluation.environments import make_environments
from gipo_cli.evaluation.intervals import difference_of_means
from gipo_cli.evaluation.rollouts import rollout
from gipo_cli.evaluation.scores import score
from gipo_cli.policies.weights import load_policy


def test_every_episode_counts_however_many_run_side_by_side(cartpole_policy):
    policy = load_policy(cartpole_policy)[0]
    policy.last_fc.weight.data.neg_()  # leans the wrong way: it falls at once, at a step that depends on its start
    by_three, by_seven = (
        rollout(policy, make_environments("CartPole-v1", n), 7, seed=3, stochastic=False) for n in (3, 7)
    )
    assert len(set(by_seven.returns)) > 1
    np.testing.assert_array_equal(by_three.returns, by_seven.returns)
    np.testing.assert_array_equal(by_three.returns, by_three.lengths)
    more = rollout(policy, make_environments("CartPole-v1", 10), 10, seed=3, stochastic=False)
    np.testing.assert_array_equal(more.returns[:7], by_seven.returns)


def test_the_recorded_mean_return_is_what_a_rollout_earns(cartpole_policy, cartpole_log):
    from gipo_cli.data import catalog

    log = catalog.load(str(cartpole_log))
    found = rollout(load_policy(cartpole_policy)[0], make_environments("CartPole-v1", 50), 50, seed=0, stochastic=True)
    error = np.hypot(found.standard_error, log.episode_returns.std() / log.episodes**0.5)
    assert abs(found.mean - log.episode_returns.mean()) < 4 * error  # 4 standard errors


def test_the_score_is_0_for_random_and_100_for_the_expert():
    assert score("Hopper-v5", -20.272305) == pytest.approx(0)
    assert score("HalfCheetah-v5", 12135.0) == pytest.approx(100)
    assert score("CartPole-v1", 500.0) is None


@pytest.mark.parametrize(
    ("environment_id", "hint"),
    [
        ("Taxi-v3", "Use Taxi-v4."),
        ("CartPole-v7", "Use CartPole-v1."),
        ("CartPole", "Use CartPole-v1."),
        ("Hopper-v1", "Use Hopper-v5."),
        ("Hopper-v2", "Use Hopper-v5."),
        ("GymV21Environment-v0", ""),
        ("NoSuch-v0", "What there is: python -c 'import gymnasium; gymnasium.pprint_registry()'"),
    ],
)
def test_an_environment_that_cannot_be_made_says_what_helps(environment_id, hint):
    with pytest.raises(SettingError) as refused:
        make_environments(environment_id, 1)
    assert refused.value.hint == hint


def test_only_what_the_user_typed_imports_a_module(tmp_path, monkeypatch):
    (tmp_path / "own_lab.py").write_text(
        "import gymnasium\n"
        "gymnasium.register('OwnLab/Pole-v0', 'gymnasium.envs.classic_control.cartpole:CartPoleEnv')\n"
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingError, match="no file's name for one imports a module") as refused:
        make_environments("own_lab:OwnLab/Pole-v0", 1)
    assert refused.value.hint == "If the module is yours: gipo evaluate RUN --environment own_lab:OwnLab/Pole-v0"
    assert "own_lab" not in sys.modules
    (made,) = make_environments("own_lab:OwnLab/Pole-v0", 1, named_by_user=True)
    assert made.spec.id == "OwnLab/Pole-v0"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "ModuleNotFoundError: No module named"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise SystemExit(0)", "SystemExit: 0"),
    ],
)
def test_a_module_that_cannot_be_imported_is_named(tmp_path, monkeypatch, text, said):
    name = f"broken_lab_{len(text or '')}"
    if text:
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingError, match=f"the module {name} cannot be imported .{said}"):
        make_environments(f"{name}:Lab-v0", 1, named_by_user=True)


def test_an_environment_without_its_package_does_not_name_mujoco(monkeypatch):
    def make(name):
        raise DependencyNotInstalled("it is not installed")

    monkeypatch.setattr(gymnasium, "make", make)
    with pytest.raises(SettingError, match="LunarLander-v3 needs a package that is not installed") as refused:
        make_environments("LunarLander-v3", 1)
    assert refused.value.hint == ""


def test_welchs_interval_by_hand():
    found = difference_of_means(np.array([1.0, 3.0]), np.array([0.0, 0.0, 3.0]))
    error = (2 / 2 + 3 / 3) ** 0.5  # variances 2 and 3 over 2 and 3 values
    assert found["mean"] == 1
    assert found["lower"] == pytest.approx(1 - 1.959964 * error)
    assert found["upper"] == pytest.approx(1 + 1.959964 * error)
    assert difference_of_means(np.array([1.0]), np.array([0.0])) == {"mean": 1.0, "lower": None, "upper": None}
