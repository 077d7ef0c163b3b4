"""Behaviour policies that nobody recorded: cross-fitted, measured on steps not seen, and marked for good."""

import json
from dataclasses import replace

import h5py
import numpy as np
import pytest

from gipo_cli.data import catalog
from gipo_cli.data.options import LogOptions
from gipo_cli.errors import DataError, SettingError
from gipo_cli.logs import open_log
from gipo_cli.training import estimation


@pytest.fixture
def bare(cartpole_log, tmp_path, monkeypatch):
    """The CartPole log without its log-probs and its policy, and a cache of the test's own."""
    monkeypatch.setenv("GIPO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(estimation, "STEPS", 500)
    path = tmp_path / "bare.hdf5"
    path.write_bytes(cartpole_log.read_bytes())
    with h5py.File(path, "r+") as file:
        del file["infos/action_log_probs"], file["metadata/policy"]
    return path


def test_an_estimate_comes_near_the_truth_and_is_marked(bare, cartpole_log):
    truth = catalog.load(str(cartpole_log))
    opened = open_log(str(bare), LogOptions(estimate_behaviour=True))
    assert opened.log.log_probs_origin == "estimated"
    # KL(beta || clone) of 4,000 steps and two choices: the clone is some hundredths of a nat away.
    assert 0 < (truth.behaviour_log_probs - opened.log.behaviour_log_probs).mean() < 0.1
    figures = opened.estimate
    assert figures["held_out_nll"] == pytest.approx(-opened.log.behaviour_log_probs.mean(), abs=1e-6)
    assert figures["gap"] == pytest.approx(figures["held_out_nll"] - figures["held_in_nll"])
    assert "held" not in opened.log.notes[-1]
    assert "estimated by 5 clones" in opened.log.notes[-1]


def test_no_step_is_judged_by_a_clone_that_has_seen_its_episode(bare, monkeypatch):
    log = catalog.load(str(bare))
    seen = []

    def spy(config, log, samples, progress):
        seen.append((samples.held_in_rows.numpy(), samples.held_out_rows.numpy()))
        return original(config, log, samples, progress)

    original = estimation.clone
    monkeypatch.setattr(estimation, "clone", spy)
    monkeypatch.setattr(estimation, "STEPS", 2)
    fold = np.random.default_rng((0, estimation.FOLDS)).permutation(log.episodes) % estimation.FOLDS
    estimation.estimate_behaviour(log, 0)
    for k, (fitted, stopping) in enumerate(seen):
        used = np.unique(log.episode_of_step[np.concatenate([fitted, stopping])])
        assert (fold[used] != k).all()
        assert len(used) == (fold != k).sum()
        assert len(stopping) > 0
        assert not np.intersect1d(fitted, stopping).size


def test_an_estimate_is_made_once(bare, monkeypatch):
    first, _ = estimation.estimate_behaviour(catalog.load(str(bare)), 0)
    monkeypatch.setattr(estimation, "clone", None)  # not called again
    second, _ = estimation.estimate_behaviour(catalog.load(str(bare)), 0)
    assert first.fingerprint == second.fingerprint
    with pytest.raises(TypeError):
        estimation.estimate_behaviour(catalog.load(str(bare)), 1)  # another seed is another estimate


def test_a_run_on_estimated_log_probs_says_so_everywhere(gipo, bare, tmp_path):
    quick = ("--steps", "10", "--set", "critic_steps=10", "--set", "clone_steps=50", "--device", "cpu", "--quiet")
    outcome = gipo(
        "train", "--dataset", bare, "--out", tmp_path / "run", "--estimate-behaviour", "--json", *quick
    )  # fmt: skip
    assert outcome.exit_code == 0, outcome.stderr
    assert json.loads(outcome.stdout)["dataset"]["log_probs"] == "estimated"
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["estimate"]["folds"] == 5
    inspection = json.loads(gipo("inspect-weights", tmp_path / "run", "--json").stdout)
    assert inspection["log_probs"] == "estimated"
    assert inspection["findings"][-1]["name"] == "log_probs_origin"
    assert inspection["verdict"] != "trust"


def test_recorded_log_probs_are_not_replaced_by_guesses(cartpole_log):
    with pytest.raises(SettingError, match="--estimate-behaviour would replace exact ratios by guesses"):
        open_log(str(cartpole_log), LogOptions(estimate_behaviour=True))


def test_too_few_episodes_to_cross_fit_are_refused(bare):
    log = catalog.load(str(bare))
    lonely = replace(log, episode_starts=np.array([0, 10, log.transitions]), final_observations=log.observations[:2])
    with pytest.raises(DataError, match="at least 5 are needed"):
        estimation.estimate_behaviour(lonely, 0)


def test_the_policy_that_acted_gives_exact_log_probs_and_the_start(gipo, bare, cartpole_log, cartpole_policy, tmp_path):
    truth = catalog.load(str(cartpole_log))
    log = open_log(str(bare), LogOptions(behaviour=str(cartpole_policy))).log
    assert log.log_probs_origin == "recomputed"
    np.testing.assert_allclose(log.behaviour_log_probs, truth.behaviour_log_probs, atol=1e-6)
    quick = ("--steps", "10", "--set", "critic_steps=10", "--device", "cpu", "--quiet", "--json")
    outcome = gipo("train", "--dataset", bare, "--behaviour", cartpole_policy, "--out", tmp_path / "run", *quick)
    start = json.loads(outcome.stdout)["warm_start"]
    assert start["kind"] == "behaviour weights"
    assert start["kl"] == pytest.approx(0, abs=1e-6)


def test_a_policy_that_did_not_act_is_found_out(bare, cartpole_policy, tmp_path):
    import torch

    from gipo_cli.policies.weights import load_policy, save_policy

    policy, _ = load_policy(cartpole_policy)
    with torch.no_grad():
        policy.last_fc.weight.neg_()  # leans the wrong way
    save_policy(policy, tmp_path / "wrong.safetensors")
    with pytest.raises(DataError, match="but not of the one that drew the actions"):
        open_log(str(bare), LogOptions(behaviour=str(tmp_path / "wrong.safetensors")))
