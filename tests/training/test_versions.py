"""Logs by several versions of a policy: which one training starts from, and what it is judged on."""

import json
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch

from gipo_cli.config import TrainConfig
from gipo_cli.data.trajectories import ActionSpace, Trajectories
from gipo_cli.training.samples import MOST_VERSIONS, _draw_held_out, to_samples
from gipo_cli.training.warm_start import best_version, warm_start

STEPS = 20
MEANS = (-2.0, 0.5, 2.0)  # what each version does, whatever it sees; standard deviation 0.5
BEST = 1


@contextmanager
def silent(name, total):
    yield lambda n=1, **figures: None


def make_log(episodes=60, versions=None):
    """Episode k is by version k mod 3, numbered 10, 20, 30; the one in the middle earns most."""
    rng = np.random.default_rng(0)
    version = np.repeat(np.arange(episodes) % 3, STEPS)
    n = len(version)
    action = (np.take(MEANS, version) + 0.5 * rng.standard_normal(n)).astype(np.float32)
    log_prob = -0.5 * ((action - np.take(MEANS, version)) / 0.5) ** 2 - np.log(0.5) - 0.5 * np.log(2 * np.pi)
    ends = np.arange(1, n + 1) % STEPS == 0
    named = 10 * (version + 1) if versions is None else versions(n)
    return Trajectories(
        "mixed", "test", rng.standard_normal((n, 2)).astype(np.float32), action[:, None],
        (version == BEST) + 0.1 * rng.standard_normal(n), log_prob, ends, np.zeros(n, bool),
        np.zeros((episodes, 2), np.float32), np.arange(0, n + 1, STEPS),
        ActionSpace((1,), low=np.array([-9.0]), high=np.array([9.0])), "gaussian", policy_versions=named,
    )  # fmt: skip


def samples_of(log):
    return to_samples(log, 0.2, seed=0, device=torch.device("cpu"))


def test_it_starts_from_the_version_that_earned_most_and_is_judged_on_its_rows():
    log = make_log(episodes=300)
    samples = samples_of(log)
    config = TrainConfig(dataset="log", clone_steps=1500, hidden_sizes=(16,), batch_size=256)
    start = warm_start(config, log, samples, silent)
    assert (start.kind, start.version) == ("cloning", BEST)
    # It does what that version does: a clone that knew no versions would do 0.17 on average, with a deviation of 1.7.
    mean, log_std = start.policy.mean_and_log_std(samples.observation)
    assert mean.mean().item() == pytest.approx(MEANS[BEST], abs=0.05)
    assert log_std.exp().mean().item() == pytest.approx(0.5, abs=0.03)
    assert start.kl < 0.02
    assert start.beta_kl < 0.02
    home = samples.started_from(start.version)
    assert torch.equal(home.judged_rows, samples.held_out_rows[samples.version[samples.held_out_rows] == BEST])
    assert torch.equal(samples.started_from(None).judged_rows, samples.held_out_rows)


def test_a_version_is_judged_by_the_lower_bound_of_its_mean_return():
    log = make_log()
    samples = samples_of(log)
    # Version 2 earns more on average, by one lucky episode that is held in.
    rewards = log.rewards.copy()
    first = int(torch.nonzero((samples.version == 2) & ~samples.held_out)[0])
    rewards[first : first + STEPS] += 500
    lucky = replace(log, rewards=rewards)
    assert lucky.episode_returns[np.arange(60) % 3 == 2].mean() > lucky.episode_returns[np.arange(60) % 3 == 1].mean()
    assert best_version(lucky, samples) == BEST


def test_each_version_has_its_share_of_held_out_episodes_and_no_fewer_than_a_judgement_needs():
    def held_out(version, fraction):
        found = _draw_held_out(np.asarray(version), fraction, seed=3)
        return np.bincount(np.asarray(version), found).astype(int).tolist()

    assert held_out([0] * 300 + [1] * 100, 0.1) == [30, 10]
    assert held_out([0] * 300 + [1] * 20 + [2] * 6, 0.1) == [30, 5, 2]  # a third at most, for the sake of a judgement
    assert held_out([0] * 14 + [1] * 14, 0.1) == [5, 5]  # of halfcheetah-medium-replay: five can be judged, four cannot
    assert held_out([0] * 20 + [1], 0.1) == [5, 0]
    assert held_out([0] * 100, 0.1) == [10]
    assert held_out([0, 1], 0.1) == [1, 0] or held_out([0, 1], 0.1) == [0, 1]  # one of two, never none and never both
    assert sum(held_out([0, 1], 0.99)) == 1


def test_few_versions_keep_their_names_and_many_become_stretches():
    assert torch.equal(samples_of(make_log()).version, torch.as_tensor(np.repeat(np.arange(60) % 3, STEPS)))
    many = samples_of(make_log(versions=lambda n: np.arange(n) // 5)).version
    assert many.max() == MOST_VERSIONS - 1
    assert (many.diff() >= 0).all()
    assert torch.equal(many.reshape(-1, 5).amin(1), many.reshape(-1, 5).amax(1))  # no version is cut in two
    sizes = torch.bincount(many)
    assert sizes.max() - sizes.min() <= 10  # 1,200 rows in 32 stretches of whole versions of 5
    assert samples_of(make_log(versions=lambda n: None)).versions == 1
    # Wherever their rows lie: a version goes where its first row is, of all rows in the order of their versions.
    version = np.random.default_rng(0).permutation(1200) // 7 * 3
    rank = np.argsort(version, kind="stable").argsort()
    first = np.array([rank[version == each].min() for each in version]) * MOST_VERSIONS // len(version)
    found = samples_of(make_log(versions=lambda n: version)).version
    np.testing.assert_array_equal(found.numpy(), np.unique(first, return_inverse=True)[1])


def test_the_summary_says_which_version_it_started_from(gipo, tmp_path):
    np.savez(
        tmp_path / "mixed.npz", observations=(log := make_log()).observations, actions=log.actions, rewards=log.rewards,
        log_probs=log.behaviour_log_probs, terminals=log.terminated, policy_versions=log.policy_versions,
    )  # fmt: skip
    outcome = gipo(
        "train", "--dataset", tmp_path / "mixed.npz", "--log-prob-convention", "gaussian",
        "--log-prob-key", "log_probs", "--out", tmp_path / "run", "--steps", "5", "--set", "critic_steps=5",
        "--set", "clone_steps=50", "--set", "hidden_sizes=[8]", "--quiet",
    )  # fmt: skip
    assert outcome.exit_code == 0, outcome.stderr
    assert "cloning of version 2 of 3, which earned most" in outcome.stdout
    # Weights are shown of that version's steps, a third of all.
    inspected = gipo("inspect-weights", tmp_path / "run", "--json")
    assert json.loads(inspected.stdout)["splits"]["all"]["transitions"] == 400
    assert "400 of 1,200 steps are of the version that training started from" in inspected.stderr
    # Beside them every version by itself, ratios to the policy that acted.
    by_version = json.loads(inspected.stdout)["by_version"]
    assert [each["transitions"] for each in by_version["versions"]] == [400, 400, 400]
    assert by_version["old"]["transition_share"] == pytest.approx(2 / 3)  # two of ages 2, 1, 0 are of 1 or more
    assert sum(each["weight_share"] for each in by_version["versions"]) == pytest.approx(1)
    home = json.loads(inspected.stdout)["splits"]["all"]
    assert by_version["versions"][1]["ess_fraction"] == pytest.approx(home["raw"]["ess_fraction"])
    text = gipo("inspect-weights", tmp_path / "run").stdout
    assert "of the weight" in text and "the older half of the versions has 67% of the steps" in text
