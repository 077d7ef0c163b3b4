"""The Gymnasium wrapper: what it records beside what happened, and misuse."""

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete, MultiDiscrete

from gipo_cli.collect import RecordLogProbs
from gipo_cli.errors import DataError, SettingError
from gipo_cli.logs import open_log

STD = 1.5


def drive(env, steps, seed=0, **handed):
    """A Gaussian around 0, acting clipped, on Pendulum; returns what was seen and sampled."""
    rng = np.random.default_rng(seed)
    observation, _ = env.reset(seed=seed)
    rows = []
    for _ in range(steps):
        action = rng.normal(0, STD, 1).astype(np.float32)
        log_prob = -0.5 * (action[0] / STD) ** 2 - np.log(STD * np.sqrt(2 * np.pi))
        env.log_prob(log_prob, action=action, **handed)
        following, reward, _, truncated, _ = env.step(action.clip(-2, 2))
        rows.append((observation, action, reward, log_prob, truncated, following))
        observation = env.reset()[0] if truncated else following
    return [np.array(column, np.float32) for column in zip(*rows, strict=True)]


def test_the_log_is_what_happened(tmp_path):
    env = RecordLogProbs(gymnasium.make("Pendulum-v1"), tmp_path / "a.hdf5", convention="gaussian")
    seen, sampled, rewards, log_probs, truncated, following = drive(env, 450, version=3)
    env.close()
    env.close()
    log = open_log(str(tmp_path / "a.hdf5")).log
    np.testing.assert_array_equal(log.observations, seen)
    np.testing.assert_array_equal(log.actions, sampled)
    np.testing.assert_array_equal(log.executed_actions, sampled.clip(-2, 2))
    np.testing.assert_array_equal(log.behaviour_log_probs, log_probs)
    np.testing.assert_array_equal(log.rewards, rewards)
    assert log.episode_starts.tolist() == [0, 200, 400, 450]
    assert np.flatnonzero(truncated).tolist() == [199, 399]
    np.testing.assert_array_equal(log.final_observations, following[[199, 399, 449]])
    assert (log.environment, log.convention, set(log.policy_versions)) == ("Pendulum-v1", "gaussian", {3})


def test_a_policy_that_can_be_asked_needs_no_handing_in(tmp_path):
    env = gymnasium.make("CartPole-v1")
    env = RecordLogProbs(env, policy_log_prob=lambda observation, action: np.log(0.25 if action else 0.75))
    env.reset(seed=0)
    for action in (0, 1, 1):
        env.step(action)
    env.reset()  # gives up the episode: it counts as cut
    env.step(np.int64(0))
    env.save(tmp_path / "a.hdf5")
    log = open_log(str(tmp_path / "a.hdf5")).log
    np.testing.assert_allclose(np.exp(log.behaviour_log_probs), [0.75, 0.25, 0.25, 0.75], rtol=1e-6)
    assert (log.convention, log.actions.tolist()) == ("categorical", [0, 1, 1, 0])
    assert (log.episode_starts.tolist(), log.truncated.tolist()) == ([0, 3, 4], [False, False, True, True])
    assert log.executed_actions is None


def test_a_squashed_action_keeps_its_pre_squash_value(tmp_path):
    env = RecordLogProbs(gymnasium.make("Pendulum-v1"), tmp_path / "a.hdf5", convention="tanh_gaussian")
    env.reset(seed=0)
    for u in (0.3, 12.0):
        env.log_prob(-1.0, action=np.tanh([u]), pre_squash=[u])
        env.step(2 * np.tanh([u]))
    env.close()
    log = open_log(str(tmp_path / "a.hdf5")).log
    np.testing.assert_allclose(log.pre_squash_actions, [[0.3], [12]])
    np.testing.assert_allclose(log.executed_actions, 2 * log.actions)
    assert log.action_space.high.tolist() == [1]


def test_a_step_without_a_log_prob_is_refused_before_it_is_taken():
    env = RecordLogProbs(gymnasium.make("CartPole-v1"))
    env.reset(seed=0)
    env.log_prob(-0.7)
    env.step(0)
    with pytest.raises(DataError) as refused:
        env.step(0)  # one handed in is good for one step
    assert refused.value.message == "this step has no log-prob."
    env.log_prob(float("nan"))
    with pytest.raises(DataError, match="the log-prob of this step is nan; expected a finite number"):
        env.step(0)
    assert env.log().transitions == 1


@pytest.mark.parametrize(
    ("environment", "convention", "message"),
    [
        (
            "Pendulum-v1",
            None,
            "the density of the log-probs is not named, and that of a real action cannot be guessed.",
        ),
        ("Pendulum-v1", "normal", "there is no log-prob convention 'normal'."),
        ("Pendulum-v1", "categorical", "the convention categorical does not fit real numbers."),
        ("CartPole-v1", "gaussian", "the convention gaussian does not fit choices."),
    ],
)
def test_a_convention_that_cannot_be_is_refused(environment, convention, message):
    with pytest.raises(SettingError) as refused:
        RecordLogProbs(gymnasium.make(environment), convention=convention)
    assert refused.value.message == message


def test_a_path_that_is_taken_is_refused_before_anything_is_recorded(tmp_path):
    (tmp_path / "a.hdf5").write_text("mine")
    with pytest.raises(SettingError, match="a log is never overwritten"):
        RecordLogProbs(gymnasium.make("CartPole-v1"), tmp_path / "a.hdf5")


def test_an_environment_that_was_never_stepped_closes_without_a_file(tmp_path):
    env = RecordLogProbs(gymnasium.make("CartPole-v1"), tmp_path / "a.hdf5")
    env.reset()
    env.close()
    assert list(tmp_path.iterdir()) == []


def test_a_choice_in_each_dimension_is_counted_from_0(tmp_path):
    env = gymnasium.make("Pendulum-v1").unwrapped
    env.action_space = MultiDiscrete([3, 5], start=[1, -2])
    env.step = lambda action: (np.zeros(3), 0.0, False, False, {})
    env = RecordLogProbs(env, tmp_path / "a.hdf5")
    env.reset(seed=0)
    for action in ([1, -2], [3, 2]):
        env.log_prob(-np.log(15))
        env.step(np.array(action))
    env.close()
    log = open_log(str(tmp_path / "a.hdf5")).log
    assert (log.convention, log.action_space.nvec, log.actions.tolist()) == (
        "multi_categorical", (3, 5), [[0, 0], [2, 4]],
    )  # fmt: skip
    assert log.executed_actions.tolist() == [[1, -2], [3, 2]]


@pytest.mark.parametrize(
    ("space", "named", "what"),
    [
        (MultiDiscrete([3, 5]), "categorical", "a choice in each dimension"),
        (Discrete(3), "multi_categorical", "choices"),
        (Box(-1, 1, (2,)), "multi_categorical", "real numbers"),
    ],
)
def test_a_density_of_another_kind_of_action_is_refused(space, named, what):
    env = gymnasium.make("Pendulum-v1").unwrapped
    env.action_space = space
    with pytest.raises(SettingError, match=f"the convention {named} does not fit {what}"):
        RecordLogProbs(env, convention=named)
