"""The recorder: exact log-probs, whole episodes, the same bytes for the same seed."""

import json

import numpy as np
import pytest
import torch

from gipo_cli.data import catalog
from gipo_cli.logs import open_log
from gipo_cli.policies.policy import Policy, PolicySpec
from gipo_cli.policies.weights import policy_from_weights, save_policy


def record(gipo, policy, environment, out, steps=300, seed=0):
    return gipo(
        "datasets", "record", "--environment", environment, "--policy", policy, "--steps", steps, "--environments",
        "3", "--seed", seed, "--out", out, "--json", "--quiet",
    )  # fmt: skip


def recomputed(log):
    policy = policy_from_weights(log.behaviour_weights, log.name)
    discrete = log.action_space.is_discrete
    u = None if log.pre_squash_actions is None else torch.as_tensor(log.pre_squash_actions)
    action = torch.as_tensor(log.actions if discrete else log.actions.astype(np.float32))
    with torch.no_grad():
        return policy.log_prob(torch.as_tensor(log.observations), action, u).numpy()


def test_a_discrete_log_has_whole_episodes_and_exact_log_probs(gipo, cartpole_policy, tmp_path):
    outcome = record(gipo, cartpole_policy, "CartPole-v1", tmp_path / "a.hdf5")
    assert outcome.exit_code == 0, outcome.stderr
    log = catalog.load(str(tmp_path / "a.hdf5"))
    assert json.loads(outcome.stdout)["fingerprint"] == log.fingerprint
    assert log.transitions >= 300
    assert (log.convention, log.environment) == ("categorical", "CartPole-v1")
    assert (log.terminated | log.truncated)[log.episode_starts[1:] - 1].all()
    np.testing.assert_array_equal(log.episode_returns, log.episode_lengths)  # CartPole pays 1 a step
    # float32 sums in batches of another size
    np.testing.assert_allclose(recomputed(log), log.behaviour_log_probs, atol=1e-5)


@pytest.mark.parametrize("distribution", ["gaussian", "tanh_gaussian"])
def test_a_continuous_log_keeps_what_was_sampled(gipo, tmp_path, distribution):
    pytest.importorskip("mujoco", reason="needs gipo[mujoco]")
    torch.manual_seed(0)
    policy = Policy(PolicySpec(distribution, 11, 3, (16,), observation_clip=5.0))
    policy.observation_mean.fill_(0.1)
    policy.observation_scale.fill_(1.5)
    save_policy(policy, tmp_path / "p.safetensors")
    outcome = record(gipo, tmp_path / "p.safetensors", "Hopper-v5", tmp_path / "a.hdf5")
    assert outcome.exit_code == 0, outcome.stderr
    log = open_log(str(tmp_path / "a.hdf5")).log
    assert (log.pre_squash_actions is not None) == (distribution == "tanh_gaussian")
    if distribution == "gaussian":
        assert np.abs(log.actions).max() > 1  # beyond the bounds that the environment clips to
    assert log.action_space.high.tolist() == [1, 1, 1]
    np.testing.assert_allclose(recomputed(log), log.behaviour_log_probs, atol=1e-4)  # densities of size 10


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(gipo, cartpole_policy, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        record(gipo, cartpole_policy, "CartPole-v1", tmp_path / f"{name}.hdf5", seed=seed)
    a, b, c = ((tmp_path / f"{name}.hdf5").read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_a_file_that_is_there_is_never_overwritten(gipo, cartpole_policy, tmp_path):
    (tmp_path / "a.hdf5").write_text("mine")
    outcome = record(gipo, cartpole_policy, "CartPole-v1", tmp_path / "a.hdf5")
    assert outcome.exit_code == 2
    assert outcome.stderr == (
        f"gipo: {tmp_path}/a.hdf5 exists; a log is never overwritten.\n"
        "      Choose another name, or move it away.\n"
    )  # fmt: skip
    assert (tmp_path / "a.hdf5").read_text() == "mine"


@pytest.mark.parametrize("environment", ["NoSuch-v0", "os:system", "../x"])
def test_an_environment_that_is_none_is_refused(gipo, cartpole_policy, tmp_path, environment):
    outcome = record(gipo, cartpole_policy, environment, tmp_path / "a.hdf5")
    assert outcome.exit_code == 2
    assert "Traceback" not in outcome.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_policy_of_another_environment_is_refused(gipo, cartpole_policy, tmp_path):
    outcome = record(gipo, cartpole_policy, "Acrobot-v1", tmp_path / "a.hdf5")
    assert outcome.exit_code == 2
    assert "takes 4 observations; Acrobot-v1 has (6,)" in outcome.stderr


def test_the_bundled_log_is_what_its_card_says(gipo):
    outcome = gipo("datasets", "info", "hopper-medium", "--json")
    info = json.loads(outcome.stdout)
    assert info["transitions"] >= 200_000
    assert info["environment"] == "Hopper-v5"
    assert info["behaviour_weights"] is True
    assert info["warnings"] == []
    listed = json.loads(gipo("datasets", "list", "--json").stdout)["datasets"]
    assert [entry["name"] for entry in listed] == ["hopper-medium"]
    assert listed[0]["bytes"] <= 16 * 2**20
