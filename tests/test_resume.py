"""A run killed at any instant and resumed ends with the bytes of one that was never stopped."""

import json
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

SETTINGS = (
    "--device", "cpu", "--steps", "900", "--set", "critic_steps=30", "--set", "report_every=10",
    "--set", "checkpoint_every=20",
)  # fmt: skip


def gipo(*arguments):
    """Start the command; used as a context manager, which waits for it and closes its pipe."""
    return subprocess.Popen(
        [sys.executable, "-m", "gipo_cli", *map(str, arguments)],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def finish(*arguments):
    with gipo(*arguments, "--quiet") as process:
        said = process.communicate()[1]
    assert process.returncode == 0, said


def content(run):
    """Every byte that must not depend on interruptions: run.json alone holds times."""
    files = [run / "metrics.jsonl", run / "log_ratios.npz", run / "latest", *sorted(run.glob("checkpoints/step-*/*"))]
    return {str(path.relative_to(run)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def uninterrupted(cartpole_log, tmp_path_factory):
    """A run that was never stopped."""
    run = tmp_path_factory.mktemp("uninterrupted") / "run"
    finish("train", "--dataset", cartpole_log, "--out", run, *SETTINGS)
    return run


def reports(run):
    """How many of its 90 reports a run has written."""
    return (run / "metrics.jsonl").read_bytes().count(b"\n") if (run / "metrics.jsonl").exists() else 0


def test_three_kills_at_random_moments_change_no_byte(cartpole_log, uninterrupted, tmp_path):
    run = tmp_path / "run"
    moments = random.Random(0)
    arguments = ["--dataset", cartpole_log, "--out", run, *SETTINGS]
    for _ in range(3):
        with gipo("train", *arguments, "--quiet") as process:
            # By its own progress, not by the clock: a machine that is busy now may be idle later. A quarter of the
            # work each at most, so that the third kill still meets a running process.
            until = reports(run) + moments.randrange(22)
            while reports(run) < until and process.poll() is None:
                time.sleep(0.005)
            time.sleep(moments.uniform(0, 0.05))
            assert process.poll() is None, process.stderr.read()
            process.send_signal(signal.SIGKILL)
        arguments = ["--resume", run] if (run / "run.json").exists() else arguments
    finish("train", *arguments)
    assert content(run) == content(uninterrupted)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_polite_signal_saves_and_says_how_to_go_on(cartpole_log, uninterrupted, tmp_path, number, code):
    run = tmp_path / "run"
    with gipo("train", "--dataset", cartpole_log, "--out", run, *SETTINGS) as process:
        for line in process.stderr:
            if line.startswith("policy 100/"):
                process.send_signal(number)
                break
        rest = process.stderr.read()
    assert process.returncode == code
    assert f"Continue with: gipo train --resume {run}" in rest
    assert json.loads((run / "run.json").read_text())["status"] == "interrupted"
    finish("train", "--resume", run)
    # The stop left one checkpoint more than the uninterrupted run has; all that both have is the same.
    mine, theirs = content(run), content(uninterrupted)
    assert {name: mine[name] for name in theirs} == theirs


def test_values_computed_in_rounds_are_the_same_after_a_kill(cartpole_log, tmp_path):
    settings = ("--device", "cpu", "--steps", "60", "--set", "critic_steps=30", "--set", "report_every=10",
                "--set", "checkpoint_every=20", "--set", "rounds=3", "--set", "certify=false")  # fmt: skip
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish("train", "--dataset", cartpole_log, "--out", whole, *settings)
    explained = {
        step: json.loads((whole / f"checkpoints/step-{step:08d}/state.json").read_text())["facts"]["critic"]
        for step in (0, 20, 40, 60)
    }
    # A checkpoint is written before its round: 20 still has the values of 0, and 40 those computed at 20.
    assert explained[0] == explained[20] != explained[40] != explained[60]
    shutil.copytree(whole, killed)
    for step in (40, 60):
        shutil.rmtree(killed / f"checkpoints/step-{step:08d}")
    (killed / "latest").write_text("step-00000020\n")
    finish("train", "--resume", killed)
    assert content(killed) == content(whole)


def test_a_run_that_ends_early_ends_where_its_own_reports_say_also_after_a_kill(cartpole_log, tmp_path):
    settings = ("--device", "cpu", "--steps", "600", "--set", "critic_steps=30", "--set", "report_every=10",
                "--set", "checkpoint_every=20", "--set", "learning_rate=3e-3", "--kl-target", "0.1",
                "--set", "patience=3", "--set", "certify=false")  # fmt: skip
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    finish("train", "--dataset", cartpole_log, "--out", whole, *settings)
    bounds = [
        json.loads(line)["held_out"]["surrogate_lower"] for line in (whole / "metrics.jsonl").read_text().splitlines()
    ]
    first = next(n for n in range(4, len(bounds) + 1) if max(bounds[n - 3 : n]) <= max(bounds[: n - 3]))
    assert len(bounds) == first < 60
    record = json.loads((whole / "run.json").read_text())
    assert (record["status"], record["steps"], record["ended_early"]) == ("finished", 10 * first, True)
    shutil.copytree(whole, killed)
    for path in killed.glob("checkpoints/step-*"):
        if path.name > "step-00000020":
            shutil.rmtree(path)
    (killed / "latest").write_text("step-00000020\n")
    finish("train", "--resume", killed)
    assert content(killed) == content(whole)
