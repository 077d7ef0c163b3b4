"""The callback, beside what Stable-Baselines3's own policies say of the same steps."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import MultiDiscrete

from gipo_cli.errors import SettingError
from gipo_cli.logs import open_log

sb3 = pytest.importorskip("stable_baselines3", reason="needs stable-baselines3")
from stable_baselines3.common.callbacks import BaseCallback, CallbackList  # noqa: E402
from stable_baselines3.common.noise import NormalActionNoise  # noqa: E402
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize  # noqa: E402

from gipo_cli.collect import LogProbCallback  # noqa: E402
from gipo_cli.policies.stable_baselines3 import from_model  # noqa: E402
from tests.two_knobs import TwoKnobs  # noqa: E402


class Witness(gymnasium.Wrapper):
    """Writes down what an environment was given and gave, whatever a VecEnv makes of it."""

    def __init__(self, env):
        super().__init__(env)
        self.rows = []

    def reset(self, **options):
        self.seen, info = self.env.reset(**options)
        return self.seen, info

    def step(self, action):
        following, reward, terminated, truncated, info = self.env.step(action)
        self.rows.append((self.seen, np.array(action), reward, terminated, truncated and not terminated, following))
        self.seen = following
        return following, reward, terminated, truncated, info


class Kept(BaseCallback):
    """The policies that acted, rebuilt."""

    def __init__(self):
        super().__init__()
        self.policies = []

    def _on_rollout_start(self):
        self.policies.append((self.model._n_updates, from_model(self.model)))

    def _on_step(self):
        return True


def compare(log, witnesses):
    """The log is what the witnesses saw, an environment after the other."""
    rows = [row for witness in witnesses for row in witness.rows]
    seen, executed, rewards, terminated, truncated, following = zip(*rows, strict=True)
    np.testing.assert_array_equal(log.observations, np.array(seen, np.float32))
    np.testing.assert_array_equal(log.rewards, np.array(rewards, np.float32))
    np.testing.assert_array_equal(log.terminated, terminated)
    lasts = np.cumsum([len(witness.rows) for witness in witnesses]) - 1  # under way when training ended: cut
    cut = np.array(truncated)
    cut[lasts] |= ~np.array(terminated)[lasts]
    np.testing.assert_array_equal(log.truncated, cut)
    final = np.array(following, np.float32)[log.episode_starts[1:] - 1]
    np.testing.assert_allclose(log.final_observations, final, atol=1e-5)
    return np.array(executed)


@pytest.mark.parametrize("environment", ["CartPole-v1", "Pendulum-v1"])
def test_ppo_is_recorded_with_the_log_prob_of_what_it_sampled(tmp_path, environment):
    witnesses = [Witness(gymnasium.make(environment)) for _ in range(2)]
    venv = DummyVecEnv([lambda w=witness: w for witness in witnesses])
    options = {"policy_kwargs": {"net_arch": [8]}, "n_steps": 128, "n_epochs": 2, "batch_size": 64}
    if environment == "Pendulum-v1":
        options["policy_kwargs"]["log_std_init"] = 1.0  # so that much is clipped
    model = sb3.PPO("MlpPolicy", venv, seed=0, device="cpu", **options)
    kept = Kept()
    model.learn(700, callback=CallbackList([kept, LogProbCallback(tmp_path / "a.hdf5")]))
    log = open_log(str(tmp_path / "a.hdf5")).log
    assert (log.transitions, log.environment) == (768, environment)
    executed = compare(log, witnesses)
    if environment == "Pendulum-v1":
        assert (np.abs(log.actions) > 2).mean() > 0.1
        np.testing.assert_array_equal(log.executed_actions, executed)
        np.testing.assert_array_equal(log.executed_actions, log.actions.clip(-2, 2))
    else:
        np.testing.assert_array_equal(log.actions, executed)
    assert np.unique(log.policy_versions).tolist() == [0, 2, 4]
    for version, policy in kept.policies:
        rows = log.policy_versions == version
        with torch.no_grad():
            found = policy.log_prob(torch.as_tensor(log.observations[rows]), torch.as_tensor(log.actions[rows]))
        np.testing.assert_allclose(log.behaviour_log_probs[rows], found.numpy(), atol=1e-5)


def test_sac_is_recorded_with_the_log_prob_of_its_actor(tmp_path):
    witnesses = [Witness(gymnasium.make("Pendulum-v1")) for _ in range(2)]
    model = sb3.SAC(
        "MlpPolicy", DummyVecEnv([lambda w=witness: w for witness in witnesses]), seed=0, device="cpu",
        learning_starts=100, train_freq=50, gradient_steps=3, batch_size=16, policy_kwargs={"net_arch": [8]},
    )  # fmt: skip
    kept = Kept()
    model.learn(600, callback=CallbackList([kept, LogProbCallback(tmp_path / "a.hdf5")]))
    log = open_log(str(tmp_path / "a.hdf5")).log
    executed = compare(log, witnesses)
    np.testing.assert_allclose(log.executed_actions, executed, atol=1e-6)
    np.testing.assert_allclose(log.executed_actions, 2 * log.actions, atol=1e-5)
    np.testing.assert_allclose(np.tanh(log.pre_squash_actions), log.actions, atol=1e-6)
    warm_up = log.policy_versions == 0
    assert warm_up.sum() == 100
    np.testing.assert_allclose(log.behaviour_log_probs[warm_up], -np.log(2), rtol=1e-6)
    later = {version + 1: policy for version, policy in kept.policies}
    versions = np.unique(log.policy_versions[~warm_up])
    assert len(versions) > 3
    for version in versions:
        rows = log.policy_versions == version
        columns = (log.observations[rows], log.actions[rows], log.pre_squash_actions[rows])
        with torch.no_grad():
            found = later[version].log_prob(*map(torch.as_tensor, columns))
        np.testing.assert_allclose(log.behaviour_log_probs[rows], found.numpy(), atol=1e-4)


def test_behind_vecnormalize_the_log_is_of_the_environments_own_numbers(tmp_path):
    witness = Witness(gymnasium.make("Pendulum-v1"))
    venv = VecNormalize(DummyVecEnv([lambda: witness]))
    model = sb3.A2C("MlpPolicy", venv, n_steps=50, device="cpu", seed=0)
    model.learn(450, callback=LogProbCallback(tmp_path / "a.hdf5"))
    compare(open_log(str(tmp_path / "a.hdf5")).log, [witness])


def test_a_second_training_goes_on_in_the_same_log(tmp_path):
    witness = Witness(gymnasium.make("CartPole-v1"))
    model = sb3.A2C("MlpPolicy", DummyVecEnv([lambda: witness]), n_steps=20, device="cpu", seed=0)
    callback = LogProbCallback(tmp_path / "a.hdf5")
    model.learn(40, callback=callback)
    assert open_log(str(tmp_path / "a.hdf5")).log.transitions == 40
    (tmp_path / "a.hdf5").rename(tmp_path / "first.hdf5")
    model.learn(40, callback=callback)
    assert open_log(str(tmp_path / "a.hdf5")).log.transitions == 80
    with pytest.raises(SettingError, match="a log is never overwritten"):
        model.learn(40, callback=callback)
    assert len(witness.rows) == 80


@pytest.mark.parametrize(
    ("algorithm", "environment", "options", "message"),
    [
        ("DQN", "CartPole-v1", {}, "the actions of DQN have no log-probs."),
        ("TD3", "Pendulum-v1", {}, "the actions of TD3 have no log-probs."),
        ("PPO", "Pendulum-v1", {"use_sde": True},
         "PPO explores with gSDE, whose noise is not drawn anew at every step."),
        ("SAC", "Pendulum-v1", {"action_noise": NormalActionNoise(np.zeros(1), np.ones(1))},
         "action_noise changes the density of the actor's actions."),
    ],
)  # fmt: skip
def test_what_has_no_log_probs_is_refused_before_a_step_is_taken(tmp_path, algorithm, environment, options, message):
    model = getattr(sb3, algorithm)("MlpPolicy", environment, device="cpu", **options)
    with pytest.raises(SettingError) as refused:
        model.learn(10, callback=LogProbCallback(tmp_path / "a.hdf5"))
    assert refused.value.message == message
    assert model.num_timesteps == 0


def test_ppo_with_a_choice_in_each_dimension(tmp_path):
    env = TwoKnobs()
    env.action_space = MultiDiscrete([3, 5])  # SB3 knows no start
    witness, kept = Witness(env), Kept()
    model = sb3.PPO("MlpPolicy", witness, n_steps=32, batch_size=32, n_epochs=1, seed=0, device="cpu")
    model.learn(64, CallbackList([kept, LogProbCallback(tmp_path / "a.hdf5")]))
    log = open_log(str(tmp_path / "a.hdf5")).log
    compare(log, [witness])
    assert (log.convention, log.action_space.nvec, log.actions.shape) == ("multi_categorical", (3, 5), (64, 2))
    first = log.policy_versions == log.policy_versions.min()
    policy = kept.policies[0][1]
    with torch.no_grad():
        found = policy.log_prob(torch.as_tensor(log.observations[first]), torch.as_tensor(log.actions[first]))
    np.testing.assert_allclose(log.behaviour_log_probs[first], found.numpy(), atol=1e-5)  # float32
