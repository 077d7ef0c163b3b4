"""A choice in each dimension of the action, from recording to evaluation."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from gipo_cli.data.catalog import load
from gipo_cli.training.dimensions import by_dimension
from gipo_cli.training.samples import to_samples
from gipo_cli.training.warm_start import initial_policy

TESTS = Path(__file__).parents[1]
ENVIRONMENT = "two_knobs:TwoKnobs-v0"
RANDOM = 10 * (1 / 3 + 1 / 5)  # what a policy that knows nothing earns in an episode


@pytest.fixture
def knobs(gipo, tmp_path, monkeypatch):
    """A log of 8,000 random steps of the environment beside the tests."""
    monkeypatch.setattr(sys, "path", [str(TESTS), *sys.path])
    where = ("--environment", ENVIRONMENT, "--policy", "random", "--steps", "8000", "--quiet")
    outcome = gipo("datasets", "record", *where, "--out", tmp_path / "log.hdf5")
    assert outcome.exit_code == 0, outcome.stderr
    return tmp_path / "log.hdf5"


def test_both_dimensions_are_learned_from_random_choices(gipo, knobs, tmp_path):
    log = load(str(knobs))
    assert (log.convention, log.action_space.nvec, log.actions.shape[1:]) == ("multi_categorical", (3, 5), (2,))
    np.testing.assert_allclose(log.behaviour_log_probs, -np.log(15), rtol=1e-6)
    assert "3 x 5 choices" in gipo("datasets", "info", knobs).stdout
    outcome = gipo(
        "train", "--dataset", knobs, "--out", tmp_path / "run", "--steps", "300", "--set", "critic_steps=300",
        "--set", "clone_steps=200", "--set", "certify=false", "--set", "hidden_sizes=[64]", "--kl-target", "1",
        "--set", "learning_rate=3e-3", "--quiet",
    )  # fmt: skip
    assert outcome.exit_code == 0, outcome.stderr
    assert f"gipo evaluate {tmp_path / 'run'} --environment {ENVIRONMENT}" in " ".join(outcome.stdout.split())
    evaluated = gipo("evaluate", tmp_path / "run", "--environment", ENVIRONMENT, "--episodes", "50", "--json")
    found = json.loads(evaluated.stdout)["policy"]["stochastic"]
    # Within a KL of 1 nat of a random policy; a tenth of the way is far beyond 3 standard errors of 50 episodes.
    assert found["mean"] > RANDOM + 3 * found["standard_error"] + 1
    assert initial_policy(tmp_path / "run").spec.choices == (3, 5)


def test_the_ratios_of_its_dimensions_add_up_to_that_of_the_action(gipo, knobs, tmp_path):
    arguments = ("--set", "clone_steps=50", "--set", "critic_steps=10", "--set", "hidden_sizes=[8]", "--quiet")
    assert gipo("train", "--dataset", knobs, "--out", tmp_path / "a", "--steps", "10", *arguments).exit_code == 0
    policy = tmp_path / "a" / "trained.safetensors"
    recorded = ("--environment", ENVIRONMENT, "--policy", policy, "--steps", "1000", "--quiet")
    assert gipo("datasets", "record", *recorded, "--out", tmp_path / "b.hdf5").exit_code == 0
    log = load(str(tmp_path / "b.hdf5"))
    assert log.behaviour_weights.choices == (3, 5)
    samples = by_dimension(to_samples(log, 0.1, 0, torch.device("cpu")), log)
    torch.testing.assert_close(samples.behaviour_log_prob_parts.sum(-1), samples.behaviour_log_prob)
    trained = ("--dataset", tmp_path / "b.hdf5", "--out", tmp_path / "c", "--steps", "10", *arguments)
    outcome = gipo("train", *trained, "--set", "ratios=per-dimension", "--set", "certify=false")
    assert outcome.exit_code == 0, outcome.stderr
    with np.load(tmp_path / "c" / "log_ratios.npz") as kept:
        np.testing.assert_allclose(kept["log_ratio_parts"].sum(-1), kept["log_ratio"], atol=1e-5)  # float32


def test_a_policy_of_other_choices_does_not_fit(gipo, knobs, cartpole_log, tmp_path):
    arguments = ("--set", "clone_steps=20", "--set", "critic_steps=10", "--steps", "10", "--quiet")
    assert gipo("train", "--dataset", cartpole_log, "--out", tmp_path / "run", *arguments).exit_code == 0
    outcome = gipo("train", "--dataset", knobs, "--init", tmp_path / "run", "--out", tmp_path / "b", *arguments)
    assert outcome.exit_code == 3
    assert "the log multi_categorical with 2 and 3 x 5." in outcome.stderr
