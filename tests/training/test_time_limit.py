"""`gipo train --max-time`: it ends with a checkpoint while there is time for one, and goes on to the same bytes."""

import json
import subprocess
import sys
import time

import pytest

from gipo_cli.errors import OutOfTime, SettingError
from gipo_cli.training import time_limit as module
from gipo_cli.training.signals import Stop
from gipo_cli.training.time_limit import TimeLimit, time_limit

SETTINGS = (
    "--device", "cpu", "--steps", "1000", "--set", "critic_steps=30", "--set", "report_every=10",
    "--set", "checkpoint_every=100000",
)  # fmt: skip
PYTHON = 30.0  # seconds that Python may take to start on a busy machine, before the command's time begins


def gipo(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "gipo_cli", "train", *map(str, arguments)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


def content(run):
    files = [run / "metrics.jsonl", run / "log_ratios.npz", run / "latest", run / "config.toml"]
    files += [path for step in (0, 1000) for path in sorted(run.glob(f"checkpoints/step-{step:08d}/*"))]
    return {str(path.relative_to(run)): path.read_bytes() for path in files}


@pytest.mark.parametrize(
    ("given", "seconds"),
    [("90s", 90), ("50m", 3000), ("1h30m", 5400), ("2h", 7200), ("45", 45), ("0.5h", 1800), ("1h1m1s", 3661)],
)  # fmt: skip
def test_lengths_of_time(given, seconds):
    assert time_limit(given, None).seconds == seconds


@pytest.mark.parametrize(
    "given", ["", "0", "0m", "soon", "-5m", "5d", "1.2.3s", "m", "30m1h", "5 m", "1h30", "inf", "nan", "."]
)
def test_what_is_no_length_of_time_is_refused(given):
    with pytest.raises(SettingError) as raised:
        time_limit(given, None)
    assert raised.value.message == f"--max-time {given!r} is no length of time."
    assert raised.value.hint == "Write it as in --max-time 50m; or 90s, 1h30m, 2h, or seconds."


def test_the_time_counts_from_where_the_command_began():
    assert time_limit("60", None, time.monotonic() - 50).left < 10


def test_an_exit_code_needs_a_limit_and_to_be_one():
    with pytest.raises(SettingError) as raised:
        time_limit(None, 75)
    assert raised.value.message == (
        "--max-time-exit is the exit code of a run that --max-time ends, and there is no --max-time."
    )
    assert raised.value.hint == "Give both, as in --max-time 50m --max-time-exit 75."
    for code in (-1, 256):
        with pytest.raises(SettingError) as raised:
            time_limit("1m", code)
        assert raised.value.message == f"--max-time-exit is {code}; expected an exit code from 0 to 255."
    assert [time_limit("1m", code).exit_code for code in (None, 0, 255)] == [0, 0, 255]


def test_the_limit_is_near_where_the_longest_report_and_checkpoint_so_far_would_pass_it(monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: clock[0])
    limit = TimeLimit("20s", 20.0, began=100.0, _lap=100.0)
    stop = Stop(limit)
    for part, seconds in (("report", 3.0), ("checkpoint", 2.0), ("report", 1.0), ("checkpoint", 1.0)):
        clock[0] += seconds
        limit.lap(part)
        assert not limit.is_near()
    clock[0] += 7.0  # 14 seconds of 20 are gone: a report of 3, a checkpoint of 2 and the margin of 1 are left
    assert not limit.is_near()
    clock[0] += 0.1
    assert limit.is_near() and not stop.requested
    clock[0] += 5.0
    assert stop.requested
    assert isinstance(stop.interruption("here", None), OutOfTime)


def test_no_limit_is_never_near():
    limit = TimeLimit()
    limit.lap("report")
    assert not limit.is_near() and not Stop().requested


def test_a_run_in_slices_of_time_ends_with_the_bytes_of_one_that_had_all_of_it(cartpole_log, tmp_path):
    whole, sliced = tmp_path / "whole", tmp_path / "sliced"
    done = gipo("--dataset", cartpole_log, "--out", whole, *SETTINGS, "--quiet")
    assert done.returncode == 0, done.stderr
    arguments = ("--dataset", cartpole_log, "--out", sliced, "--fail-if", "held_out.ess_fraction < 0", *SETTINGS)
    steps, seconds = [], 5
    while True:
        began = time.monotonic()
        done = gipo(*arguments, "--max-time", f"{seconds}s", "--max-time-exit", 75, "--json", "--quiet")
        assert done.returncode in (0, 75), done.stderr
        said = json.loads(done.stdout)
        if done.returncode == 0:
            break
        assert time.monotonic() - began < seconds + PYTHON
        assert said == {"run": str(sliced), "status": "interrupted", "step": said["step"], "steps": 1000}
        assert json.loads((sliced / "run.json").read_text())["status"] == "interrupted"
        where, *rest = done.stderr.splitlines()
        if said["step"] in (0, *steps):
            seconds += 1  # a busy machine: Python's start and the phases before took all of it
        else:
            assert where == (
                f"gipo: --max-time {seconds}s: stopped at step {said['step']} of 1000; everything so far is saved."
            )
            steps.append(said["step"])
        assert rest == [
            f"      Continue with: gipo train --resume {sliced}",
            "      The run has not ended: 1 gate is not judged yet.",
        ]
        arguments = ("--resume", sliced)
    assert steps and steps == sorted(set(steps)) and all(step % 10 == 0 for step in steps)
    assert said["status"] == "finished" and said["gates"][0]["held"]
    assert content(sliced) == content(whole)


def test_a_limit_that_ends_a_phase_says_that_it_begins_again_and_is_no_failure_unless_asked(cartpole_log, tmp_path):
    run = tmp_path / "run"
    arguments = ("--dataset", cartpole_log, "--out", run, *SETTINGS, "--set", "critic_steps=1000000")
    done = gipo(*arguments, "--max-time", "4", "--json", "--quiet")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"run": str(run), "status": "interrupted", "step": 0, "steps": 1000}
    assert done.stderr == (
        "gipo: --max-time 4: stopped in the phase 'advantages'; it begins again on resuming.\n"
        f"      Continue with: gipo train --resume {run}\n"
    )
    assert json.loads((run / "run.json").read_text())["status"] == "interrupted"


def test_a_report_that_is_too_long_for_the_limit_is_left_in_the_middle(cartpole_log, tmp_path):
    settings = ("--device", "cpu", "--steps", "1000000", "--set", "critic_steps=30", "--set", "report_every=1000000")
    for seconds in (10, 40):  # a busy machine may not come to the first update within the first
        run, began = tmp_path / f"run-{seconds}", time.monotonic()
        done = gipo("--dataset", cartpole_log, "--out", run, *settings, "--max-time", f"{seconds}s", "--quiet")
        assert time.monotonic() - began < seconds + PYTHON
        assert (done.returncode, done.stdout) == (0, "")
        if "in the phase" not in done.stderr:
            break
    assert done.stderr == (
        f"gipo: --max-time {seconds}s: stopped between two reports; resuming begins at the checkpoint before.\n"
        f"      Continue with: gipo train --resume {run}\n"
    )
    assert not (run / "log_ratios.npz").exists()  # those of step 0 would be taken for what the run came to
