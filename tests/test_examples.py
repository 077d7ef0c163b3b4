"""Every example runs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def test_the_log_of_the_example_trains(gipo, tmp_path):
    log = tmp_path / "my-log.hdf5"
    subprocess.run([sys.executable, EXAMPLES / "bring_your_own_log.py", log], check=True)
    info = json.loads(gipo("datasets", "info", log, "--json").stdout)
    assert (info["transitions"], info["episodes"], info["notes"], info["warnings"]) == (2000, 40, [], [])
    outcome = gipo(
        "train", "--dataset", log, "--out", tmp_path / "run", "--json", "--quiet", "--steps", "50",
        "--set", "critic_steps=50", "--set", "clone_steps=1500", "--set", "hidden_sizes=[32]",
    )  # fmt: skip
    start = json.loads(outcome.stdout)["warm_start"]
    # A linear Gaussian is easy to clone; log beta is recorded, so what is missing is known, in nats.
    assert start["kind"] == "cloning"
    assert start["kl"] < 0.05


def test_the_wrapper_of_the_example_records_a_log(gipo, tmp_path):
    log = tmp_path / "my-log.hdf5"
    subprocess.run([sys.executable, EXAMPLES / "record_with_wrapper.py", log], check=True)
    info = json.loads(gipo("datasets", "info", log, "--json").stdout)
    assert (info["environment"], info["episodes"], info["notes"], info["warnings"]) == ("CartPole-v1", 20, [], [])
    assert info["log_probs"]["convention"] == "categorical"
    assert info["log_probs"]["max"] < 0


@pytest.mark.parametrize(("algorithm", "convention"), [("ppo", "gaussian"), ("sac", "tanh_gaussian")])
def test_the_callback_of_the_example_records_a_log(gipo, tmp_path, algorithm, convention):
    pytest.importorskip("stable_baselines3", reason="needs stable-baselines3")
    log = tmp_path / "my-log.hdf5"
    subprocess.run([sys.executable, EXAMPLES / "record_during_sb3_training.py", log, algorithm], check=True)
    info = json.loads(gipo("datasets", "info", log, "--json").stdout)
    assert (info["environment"], info["notes"], info["warnings"]) == ("Pendulum-v1", [], [])
    assert info["log_probs"]["convention"] == convention
    assert info["transitions"] == (768 if algorithm == "ppo" else 600)  # PPO ends its rollout of 256


def test_there_is_a_test_for_every_example():
    expected = {"bring_your_own_log.py", "record_with_wrapper.py", "record_during_sb3_training.py"}
    assert {path.name for path in EXAMPLES.glob("*.py")} == expected
