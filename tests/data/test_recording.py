"""The recorder: exact log-probs, whole episodes, the same bytes for the same seed."""

import json

import gymnasium
import numpy as np
import pytest
import torch

from gipo_cli.data import catalog, recording
from gipo_cli.evaluation.rollouts import rollout
from gipo_cli.logs import open_log
from gipo_cli.policies.policy import Policy, PolicySpec
from gipo_cli.policies.uniform import UniformPolicy
from gipo_cli.policies.weights import load_policy, policy_from_weights, save_policy


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


def test_a_log_is_recorded_in_the_format_of_its_suffix(gipo, cartpole_policy, tmp_path):
    outs = {"a.hdf5": "d4rl", "a.npz": "npz", "a.parquet": "parquet", "a": "minari"}
    told = {out: json.loads(record(gipo, cartpole_policy, "CartPole-v1", tmp_path / out).stdout) for out in outs}
    assert {out: summary["format"] for out, summary in told.items()} == outs
    assert len({summary["fingerprint"] for summary in told.values()}) == 1
    assert (tmp_path / "a.npz").read_bytes().startswith(b"PK")
    refused = record(gipo, cartpole_policy, "CartPole-v1", tmp_path / "a.csv")
    assert refused.exit_code == 2
    assert "'.csv' names no format that can be written." in refused.stderr


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


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ("FrozenLake-v1", "FrozenLake-v1 has Discrete observations; expected a Box."),
        ("Blackjack-v1", "Blackjack-v1 has Tuple observations; expected a Box."),
    ],
)
def test_observations_that_are_no_vector_are_refused(gipo, cartpole_policy, tmp_path, environment, message):
    for policy in ("random", cartpole_policy):
        outcome = record(gipo, policy, environment, tmp_path / "a.hdf5")
        assert (outcome.exit_code, outcome.stderr) == (2, f"gipo: {message}\n")


def test_a_policy_of_another_environment_is_refused(gipo, cartpole_policy, tmp_path):
    outcome = record(gipo, cartpole_policy, "Acrobot-v1", tmp_path / "a.hdf5")
    assert outcome.exit_code == 3
    assert outcome.stderr == (
        "gipo: the policy has 4 observations and 2 actions, the environment 6 and 3.\n"
        "      Name the environment that the policy was made for with --environment.\n"
    )


def squashed(path, log_std=0.0):
    policy = Policy(PolicySpec("tanh_gaussian", 3, 1, (8,), state_dependent_std=False))
    policy.log_std.data.fill_(log_std)
    save_policy(policy, path, {"environment": "Pendulum-v1"})
    return path


def test_a_squashed_policy_fills_pendulums_bounds_and_evaluate_acts_as_the_recorder_did(gipo, tmp_path):
    path = squashed(tmp_path / "p.safetensors")
    outcome = gipo("datasets", "record", "--policy", path, "--steps", "400", "--environments", "2", "--out",
                   tmp_path / "a.hdf5", "--json", "--quiet")  # fmt: skip
    assert outcome.exit_code == 0, outcome.stderr
    log = open_log(str(tmp_path / "a.hdf5")).log
    assert log.environment == "Pendulum-v1"  # the policy file names it
    np.testing.assert_allclose(log.executed_actions, 2 * log.actions, atol=1e-6)
    assert (log.action_space.low.tolist(), log.action_space.high.tolist()) == ([-1], [1])
    np.testing.assert_allclose(recomputed(log), log.behaviour_log_probs, atol=1e-4)
    # Pendulum's reward takes 0.001 times the square of the action that was really executed.
    cos, sin, speed = log.observations[:, 0], log.observations[:, 1], log.observations[:, 2]
    cost = np.arctan2(sin, cos) ** 2 + 0.1 * speed**2 + 0.001 * log.executed_actions[:, 0] ** 2
    np.testing.assert_allclose(log.rewards, -cost, atol=1e-4)
    given = []

    class Spied(gymnasium.Wrapper):
        def step(self, action):
            given.append(action)
            return self.env.step(action)

    policy = load_policy(path)[0]
    rollout(policy, [Spied(gymnasium.make("Pendulum-v1"))], 1, seed=0, stochastic=True)
    assert 1 < np.abs(given).max() <= 2


def test_a_gaussian_policy_keeps_what_it_sampled_beside_what_was_executed(gipo, tmp_path):
    policy = Policy(PolicySpec("gaussian", 3, 1, (8,), state_dependent_std=False))
    policy.log_std.data.fill_(1.0)
    save_policy(policy, tmp_path / "p.safetensors")
    record(gipo, tmp_path / "p.safetensors", "Pendulum-v1", tmp_path / "a.hdf5")
    log = open_log(str(tmp_path / "a.hdf5")).log
    assert np.abs(log.actions).max() > 2
    np.testing.assert_array_equal(log.executed_actions, log.actions.clip(-2, 2))


@pytest.mark.parametrize(
    ("environment", "convention", "log_prob"),
    [("Pendulum-v1", "tanh_gaussian", -np.log(2)), ("Acrobot-v1", "categorical", -np.log(3))],
)
def test_a_random_log_can_be_trained_on(gipo, tmp_path, environment, convention, log_prob):
    outcome = record(gipo, "random", environment, tmp_path / "a.hdf5", steps=100)
    assert outcome.exit_code == 0, outcome.stderr
    log = open_log(str(tmp_path / "a.hdf5")).log
    assert (log.convention, log.behaviour_weights, log.policy_versions) == (convention, None, None)
    np.testing.assert_allclose(log.behaviour_log_probs, log_prob, rtol=1e-6)


class Shifted(gymnasium.Env):
    """Two steps long; choices -1, 0, 1, which are the reward."""

    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(3, start=-1)

    def reset(self, *, seed=None, options=None):
        self.step_number = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.step_number += 1
        return np.ones(2, np.float32), float(action), self.step_number == 2, False, {}


def test_choices_that_do_not_start_at_0_are_logged_from_0():
    log = recording.record(
        [UniformPolicy(Shifted(), "Shifted")], [Shifted()], name="a", environment_id="Shifted", steps=60, seed=0,
        on_steps=lambda n: None,
    )  # fmt: skip
    assert (log.action_space.n, set(log.actions.tolist())) == (3, {0, 1, 2})
    np.testing.assert_array_equal(log.executed_actions[:, 0], log.rewards)
    np.testing.assert_array_equal(log.actions - 1, log.rewards)


def test_a_ladder_records_an_equal_share_of_each_policy(gipo, tmp_path):
    ladder = tmp_path / "ladder"
    ladder.mkdir()
    for number, log_std in ((2, 0.5), (10, -1.0), (1, 1.5)):
        squashed(ladder / f"p{number}.safetensors", log_std)
    common = ("--environment", "Pendulum-v1", "--steps", "600", "--environments", "1", "--json", "--quiet")
    outcome = gipo("datasets", "record", "--policies", ladder, "--out", tmp_path / "a.hdf5", *common)
    assert outcome.exit_code == 0, outcome.stderr
    log = open_log(str(tmp_path / "a.hdf5")).log
    assert np.bincount(log.policy_versions).tolist() == [200, 200, 200]
    assert log.behaviour_weights is None
    spread = [np.std(log.pre_squash_actions[log.policy_versions == i]) for i in range(3)]
    assert spread[0] > spread[1] > spread[2]  # 1, 2, 10: not the order of the alphabet
    made = json.loads(gipo("datasets", "info", tmp_path / "a.hdf5", "--json").stdout)["attributes"]
    assert [made[f"policy_{i}"].split(",")[0] for i in range(3)] == [f"p{n}.safetensors" for n in (1, 2, 10)]
    # The same, named one by one or by a glob.
    named = [argument for n in (1, 2, 10) for argument in ("--policy", ladder / f"p{n}.safetensors")]
    for out, policies in (("b", named), ("c", ["--policies", ladder / "p*.safetensors"])):
        gipo("datasets", "record", *policies, "--out", tmp_path / f"{out}.hdf5", *common)
        assert (tmp_path / f"{out}.hdf5").read_bytes() == (tmp_path / "a.hdf5").read_bytes()


def test_a_ladder_of_several_densities_is_refused(gipo, tmp_path):
    squashed(tmp_path / "a.safetensors")
    save_policy(Policy(PolicySpec("gaussian", 3, 1, (8,))), tmp_path / "b.safetensors")
    outcome = gipo("datasets", "record", "--policies", tmp_path, "--out", tmp_path / "a.hdf5",
                   "--environment", "Pendulum-v1", "--quiet")  # fmt: skip
    assert outcome.exit_code == 2
    assert outcome.stderr.startswith("gipo: the policies are of several kinds: tanh_gaussian, gaussian.\n")
    assert not (tmp_path / "a.hdf5").exists()


def test_a_run_and_its_checkpoint_act_in_the_environment_of_their_log(gipo, quick_run, tmp_path):
    for name, place in (("a", quick_run), ("b", quick_run / "checkpoints" / "step-00000040")):
        outcome = gipo("datasets", "record", "--policy", place, "--out", tmp_path / f"{name}.hdf5", "--steps", "50",
                       "--environments", "1", "--quiet", "--json")  # fmt: skip
        assert outcome.exit_code == 0, outcome.stderr
        assert catalog.load(str(tmp_path / f"{name}.hdf5")).environment == "CartPole-v1"
    assert (tmp_path / "a.hdf5").read_bytes() == (tmp_path / "b.hdf5").read_bytes()


def test_a_ladder_is_made_of_a_runs_checkpoints_or_of_runs(gipo, quick_run, tmp_path):
    (tmp_path / "trained.safetensors").write_bytes((quick_run / "trained.safetensors").read_bytes())
    steps = [f"run/step-{n:08}" for n in (0, 10, 20, 30, 40)]
    for i, (named, expected) in enumerate([
        (quick_run, steps), (quick_run / "checkpoints", steps), (quick_run / "checkpoints/step-*", steps),
        (tmp_path / "r*", ["run/step-00000040"]), (quick_run / "trained.*", ["trained.safetensors"]),
    ]):  # fmt: skip
        out = tmp_path / f"{i}.hdf5"
        outcome = gipo("datasets", "record", "--policies", named, "--out", out, "--steps", "50", "--environments", "1",
                       "--quiet", "--json")  # fmt: skip
        assert outcome.exit_code == 0, outcome.stderr
        made = json.loads(gipo("datasets", "info", out, "--json").stdout)
        told = [made["attributes"][key] for key in sorted(made["attributes"]) if key[:6] == "policy"][: len(expected)]
        assert [name.split(",")[0] for name in told] == expected
        assert made["environment"] == "CartPole-v1"  # of the run's log


def test_a_zip_of_stable_baselines3_records(gipo, tmp_path):
    sb3 = pytest.importorskip("stable_baselines3", reason="needs stable-baselines3")
    sb3.SAC("MlpPolicy", "Pendulum-v1", device="cpu", policy_kwargs={"net_arch": [8]}).save(tmp_path / "m")
    outcome = record(gipo, tmp_path / "m.zip", "Pendulum-v1", tmp_path / "a.hdf5")
    assert (outcome.exit_code, outcome.stderr) == (0, "")
    log = open_log(str(tmp_path / "a.hdf5")).log
    np.testing.assert_allclose(recomputed(log), log.behaviour_log_probs, atol=1e-4)
    (tmp_path / "m_vec_normalize.pkl").write_bytes(b"\x80\x04.")  # what VecNormalize.save writes, and is never opened
    outcome = record(gipo, tmp_path / "m.zip", "Pendulum-v1", tmp_path / "b.hdf5")
    assert outcome.exit_code == 0
    assert outcome.stderr == (
        f"warning: m_vec_normalize.pkl lies beside {tmp_path}/m.zip: a model trained behind VecNormalize expects "
        "standardised observations, and here it acts on raw ones. Load both in Python and save them as one policy: "
        "gipo_cli.collect.save_policy_of(model, 'policy.safetensors')\n"
    )


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "no policy was named.\n      Name one: --policy POLICY.safetensors, or --policy random."),
        (["--policy", "random"], 2, "random does not say which environment it acts in.\n      Name it: "),
        (["--policy", "none.zip"], 3, "there is no policy none.zip.\n      Expected a run, a checkpoint, "),
        (["--policies", "none*"], 2, "--policies: none* names no policy.\n      Expected a run, a checkpoint, "),
        (["--policy", "{tmp}/vec.pkl", "--environment", "CartPole-v1"], 3,
         "{tmp}/vec.pkl is a pickle, which may hold any program and is never opened.\n      Statistics of VecNorm"),
    ],
)  # fmt: skip
def test_policies_that_are_none_are_refused(gipo, tmp_path, arguments, code, message):
    (tmp_path / "vec.pkl").write_bytes(b"\x80\x04.")
    arguments = [argument.format(tmp=tmp_path) for argument in arguments]
    outcome = gipo("datasets", "record", *arguments, "--out", tmp_path / "a.hdf5", "--quiet")
    assert outcome.exit_code == code
    assert outcome.stderr.startswith("gipo: " + message.format(tmp=tmp_path))


def test_the_bundled_log_is_what_its_card_says(gipo):
    outcome = gipo("datasets", "info", "hopper-medium", "--json")
    info = json.loads(outcome.stdout)
    assert info["transitions"] >= 200_000
    assert info["environment"] == "Hopper-v5"
    assert info["behaviour_weights"] is True
    assert info["warnings"] == []
    assert info["fingerprint"] == catalog.ENTRIES["hopper-medium"].fingerprint


def test_the_bundled_replay_is_what_its_card_says(gipo):
    info = json.loads(gipo("datasets", "info", "hopper-medium-replay", "--json").stdout)
    assert info["transitions"] >= 200_000
    assert info["behaviour_weights"] is False
    assert info["fingerprint"] == catalog.ENTRIES["hopper-medium-replay"].fingerprint
    assert info["warnings"] == []
    versions = catalog.load("hopper-medium-replay").policy_versions
    assert np.bincount(versions).min() > 15_000
    assert len(np.unique(versions)) == 13


def test_the_catalog_says_what_is_here_and_what_will_be_recorded(gipo, monkeypatch, tmp_path):
    monkeypatch.setenv("GIPO_CACHE", str(tmp_path))
    listed = {e["name"]: e for e in json.loads(gipo("datasets", "list", "--json").stdout)["datasets"]}
    three = [f"{kind}-{level}" for kind in ("hopper", "walker2d", "halfcheetah")
             for level in ("random", "medium", "medium-replay")]  # fmt: skip
    assert sorted(listed) == sorted([*three, "cartpole-medium"])
    bundled = {name for name, entry in listed.items() if entry["state"] == "bundled"}
    assert bundled == {"hopper-medium", "hopper-medium-replay"}
    assert all(listed[name]["bytes"] <= 16 * 2**20 for name in bundled)
    assert {entry["state"] for name, entry in listed.items() if name not in bundled} == {"will be recorded"}
    assert "will be recorded" in gipo("datasets", "list").stdout
