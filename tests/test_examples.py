"""Every example runs."""

import json
import subprocess
import sys
from pathlib import Path

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


def test_there_is_a_test_for_every_example():
    assert {path.name for path in EXAMPLES.glob("*.py")} == {"bring_your_own_log.py"}
