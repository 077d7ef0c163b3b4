"""Ratios per dimension of the action."""

import json

import numpy as np
import pytest
import torch

from gipo_cli.data.catalog import load
from gipo_cli.errors import SettingError
from gipo_cli.objectives.gipo import gipo
from gipo_cli.policies.policy import Policy, PolicySpec
from gipo_cli.policies.weights import save_policy
from gipo_cli.training.dimensions import by_dimension
from gipo_cli.training.samples import to_samples
from gipo_cli.training.update import Batch

QUICK = ("--steps", "20", "--set", "critic_steps=20", "--set", "report_every=5", "--set", "certify=false", "--quiet")


@pytest.mark.parametrize("kind", ["gaussian", "tanh_gaussian"])
def test_the_parts_add_up_to_the_density_of_the_action(kind):
    torch.manual_seed(0)
    policy = Policy(PolicySpec(kind, 4, 3, (8,)))
    observation = torch.randn(50, 4)
    action, log_prob, pre_squash = policy.sample(observation, torch.Generator().manual_seed(0))
    parts = policy.log_prob_parts(observation, action, pre_squash)
    assert parts.shape == (50, 3)
    torch.testing.assert_close(parts.sum(-1), log_prob)


@pytest.fixture(scope="module")
def reacher_log(tmp_path_factory):
    """A log of Reacher, whose actions have two dimensions, by a Gaussian policy of no merit; 1,000 steps."""
    from gipo_cli.cli import main

    torch.manual_seed(0)
    place = tmp_path_factory.mktemp("reacher")
    policy = Policy(PolicySpec("gaussian", 10, 2, (8,)))
    save_policy(policy, place / "policy.safetensors")
    with pytest.raises(SystemExit) as exited:
        main(
            ["datasets", "record", "--environment", "Reacher-v5", "--policy", str(place / "policy.safetensors"),
             "--steps", "1000", "--environments", "4", "--out", str(place / "log.hdf5"), "--quiet", "--json"]
        )  # fmt: skip
    assert not exited.value.code
    return place / "log.hdf5"


def test_each_dimension_is_weighed_by_its_own_ratio(reacher_log):
    samples = by_dimension(log := samples_of(reacher_log), load(str(reacher_log)))
    policy = Policy(PolicySpec("gaussian", 10, 2, (8,)))
    rows = torch.arange(100)
    advantage = torch.randn(len(samples.reward), generator=torch.Generator().manual_seed(0))
    loss, kl, log_ratio = Batch(gipo, {"sigma": 0.7}, advantage, samples, rows).losses(policy, rows)
    parts = samples.log_ratio_parts(policy, rows)
    by_hand = torch.stack([gipo(parts[:, d], advantage[:100], sigma=0.7) for d in (0, 1)]).mean()
    torch.testing.assert_close(loss, by_hand)
    # KL, ESS and all else that is reported stay those of the action as a whole.
    torch.testing.assert_close(log_ratio, log.log_ratio(policy, rows), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(kl, -log_ratio.mean())


def samples_of(path):
    return to_samples(load(str(path)), 0.1, 0, torch.device("cpu"))


def test_a_run_says_what_each_sample_was_weighed_with(gipo, reacher_log, tmp_path):
    run = tmp_path / "run"
    arguments = ("--set", "ratios=per-dimension", "--set", "learning_rate=1e-3", *QUICK)
    outcome = gipo("train", "--dataset", reacher_log, "--out", run, *arguments)
    assert outcome.exit_code == 0, outcome.stderr
    with np.load(run / "log_ratios.npz") as kept:
        parts, joint = kept["log_ratio_parts"], kept["log_ratio"]
    np.testing.assert_allclose(parts.sum(-1), joint, rtol=1e-5, atol=1e-4)  # float32 sums in another order
    inspected = json.loads(gipo("inspect-weights", run, "--json").stdout)
    expected = np.exp(parts - 0.5 * parts**2).mean()
    assert inspected["splits"]["all"]["trust_weighted"]["mean"] == pytest.approx(expected, rel=1e-5)


def test_where_there_are_no_dimensions_it_says_so(gipo, cartpole_log, reacher_log, tmp_path):
    given = ("--set", "ratios=per-dimension", *QUICK)
    outcome = gipo("train", "--dataset", cartpole_log, "--out", tmp_path / "run", *given)
    assert outcome.exit_code == 2
    assert "are choices, which have no dimensions" in outcome.stderr
    assert not (tmp_path / "run").exists()  # refused before anything is written
    with pytest.raises(SettingError, match="does not carry the policy that acted"):
        log = load(str(reacher_log))
        object.__setattr__(log, "behaviour_weights", None)
        by_dimension(samples_of(reacher_log), log)
    outcome = gipo("train", "--dataset", cartpole_log, "--set", "ratios=joit")
    assert outcome.exit_code == 2
    assert "joint" in outcome.stderr
