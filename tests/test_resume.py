"""A run killed at any instant and resumed ends with the bytes of one that was never stopped."""

import json
import random
import signal
import subprocess
import sys
import time

import pytest

SETTINGS = (
    "--device", "cpu", "--steps", "600", "--set", "critic_steps=150", "--set", "report_every=10",
    "--set", "checkpoint_every=20",
)  # fmt: skip


def gipo(*arguments, **options):
    return subprocess.Popen(
        [sys.executable, "-m", "gipo_cli", *map(str, arguments)],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **options,
    )  # fmt: skip


def content(run):
    """Every byte that must not depend on interruptions: run.json alone holds times."""
    files = [run / "metrics.jsonl", run / "log_ratios.npz", run / "latest", *sorted(run.glob("checkpoints/step-*/*"))]
    return {str(path.relative_to(run)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def uninterrupted(cartpole_log, tmp_path_factory):
    run = tmp_path_factory.mktemp("uninterrupted") / "run"
    began = time.monotonic()
    process = gipo("train", "--dataset", cartpole_log, "--out", run, "--quiet", *SETTINGS)
    assert process.wait() == 0, process.stderr.read()
    return run, time.monotonic() - began


def test_five_kills_at_random_moments_change_no_byte(cartpole_log, uninterrupted, tmp_path):
    reference, seconds = uninterrupted
    run = tmp_path / "run"
    moments = random.Random(0)
    kills = 0
    arguments = ["--dataset", cartpole_log, "--out", run, *SETTINGS]
    for _ in range(5):
        process = gipo("train", *arguments, "--quiet")
        try:
            # From before the first write to shortly before the end, imports and reading included.
            process.wait(timeout=moments.uniform(0.3, 0.95) * seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            kills += process.wait() == -signal.SIGKILL
        arguments = ["--resume", run] if (run / "run.json").exists() else arguments
    final = gipo("train", *arguments, "--quiet")
    assert final.wait() == 0, final.stderr.read()
    assert kills >= 3
    assert content(run) == content(reference)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_polite_signal_saves_and_says_how_to_go_on(cartpole_log, uninterrupted, tmp_path, number, code):
    reference, _ = uninterrupted
    run = tmp_path / "run"
    process = gipo("train", "--dataset", cartpole_log, "--out", run, *SETTINGS)
    for line in process.stderr:
        if line.startswith("policy 100/"):
            process.send_signal(number)
            break
    rest = process.stderr.read()
    assert process.wait() == code
    assert f"Continue with: gipo train --resume {run}" in rest
    assert json.loads((run / "run.json").read_text())["status"] == "interrupted"
    resumed = gipo("train", "--resume", run, "--quiet")
    assert resumed.wait() == 0, resumed.stderr.read()
    # The stop left one checkpoint more than the uninterrupted run has; all that both have is the same.
    mine, theirs = content(run), content(reference)
    assert {name: mine[name] for name in theirs} == theirs
