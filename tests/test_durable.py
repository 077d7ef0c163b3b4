"""Real disks that are full or read-only, real limits, real processes: what a run says, and how it ends afterwards."""

import errno
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from gipo_cli import durable

SETTINGS = (
    "--device", "cpu", "--steps", "40", "--set", "critic_steps=40", "--set", "report_every=5",
    "--set", "checkpoint_every=10", "--quiet",
)  # fmt: skip
MOUNTING = ("unshare", "--user", "--map-root-user", "--mount")  # mounts that nobody else sees and that end with it


def may_mount():
    """Whether this machine lets a user have mounts of their own."""
    try:
        return subprocess.run([*MOUNTING, "mount", "-t", "tmpfs", "none", "/mnt"], check=False).returncode == 0
    except FileNotFoundError:
        return False


mounting = pytest.mark.skipif(not may_mount(), reason="this machine gives a user no mounts (unshare --user --mount)")


def gipo(*arguments):
    """A command for a shell."""
    return shlex.join([sys.executable, "-m", "gipo_cli", *map(str, arguments)])


def shell(script, *before):
    """What a script says and leaves with; it goes on after a command that fails."""
    return subprocess.run([*before, "bash", "-c", script], capture_output=True, text=True, check=False)


def content(run):
    """Every byte that must not depend on what went wrong on the way."""
    files = [run / "metrics.jsonl", run / "log_ratios.npz", run / "latest", *run.glob("checkpoints/*/*")]
    return {str(path.relative_to(run)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def undisturbed(cartpole_log, tmp_path_factory):
    """A run that nothing happened to."""
    run = tmp_path_factory.mktemp("undisturbed") / "run"
    done = shell(gipo("train", "--dataset", cartpole_log, "--out", run, *SETTINGS))
    assert done.returncode == 0, done.stderr
    return run


@mounting
def test_a_run_on_a_disk_that_was_full_goes_on_when_there_is_room(cartpole_log, undisturbed, tmp_path):
    disk, size = tmp_path / "disk", sum(path.stat().st_size for path in undisturbed.rglob("*") if path.is_file())
    disk.mkdir()
    run = disk / "run"
    done = shell(
        f"""
        mount -t tmpfs -o size={size // 2} none {disk}
        {gipo("train", "--dataset", cartpole_log, "--out", run, *SETTINGS)} || echo left with $?
        ls -A {run}/checkpoints
        mount -o remount,size={size * 4} {disk}
        {gipo("train", "--resume", run, "--quiet")} > /dev/null && cp -r {run} {tmp_path}/kept
        """,
        *MOUNTING,
    )
    assert done.stderr == (
        f"gipo: {run} cannot be written (No space left on device).\n"
        f"      Free some space, then continue with: gipo train --resume {run}\n"
    )
    left, *checkpoints = done.stdout.split("\n")[:-1]
    assert left == "left with 3"
    assert checkpoints and all(name.startswith("step-") for name in checkpoints)  # nothing half written
    assert content(tmp_path / "kept") == content(undisturbed)


@mounting
def test_a_run_that_became_read_only_is_one_sentence_and_one_that_has_ended_still_answers(
    cartpole_log, undisturbed, tmp_path
):
    fresh = tmp_path / "locked" / "run"
    fresh.parent.mkdir()
    begun = tmp_path / "begun"
    done = shell(
        f"""
        {gipo("train", "--dataset", cartpole_log, "--out", begun, *SETTINGS, "--max-time", "0.1")} 2> /dev/null
        for place in {begun} {undisturbed} {fresh.parent}; do
            mount --bind $place $place; mount -o remount,bind,ro $place
        done
        {gipo("train", "--resume", begun, "--quiet")}; echo $?
        {gipo("train", "--resume", undisturbed, "--quiet", "--json")} > {tmp_path}/printed; echo $?
        {gipo("train", "--dataset", cartpole_log, "--out", fresh, *SETTINGS)}; echo $?
        """,
        *MOUNTING,
    )
    assert done.stdout.split() == ["3", "0", "2"], done.stderr
    assert done.stderr == (
        f"gipo: {begun} cannot be written (Read-only file system).\n"
        f"      Have its file system mounted for writing, then continue with: gipo train --resume {begun}\n"
        f"gipo: the output directory {fresh} cannot be made (Read-only file system).\n"
    )
    assert '"status": "finished"' in (tmp_path / "printed").read_text()


def test_a_limit_on_the_size_of_files_is_named_and_lifting_it_is_enough(cartpole_log, undisturbed, tmp_path):
    run = tmp_path / "run"
    largest = max(path.stat().st_size for path in undisturbed.rglob("*") if path.is_file())
    done = shell(
        f"ulimit -S -f {largest // 2048}\n"
        f"{gipo('train', '--dataset', cartpole_log, '--out', run, *SETTINGS)}; echo $?\n"
        "ulimit -S -f unlimited\n"
        f"{gipo('train', '--resume', run, '--quiet')} > /dev/null; echo $?"
    )
    assert done.stdout.split() == ["3", "0"], done.stderr
    assert done.stderr == (
        f"gipo: {run} cannot be written (File too large).\n"
        f"      Lift the limit on the size of files (ulimit -f), then continue with: gipo train --resume {run}\n"
    )
    assert content(run) == content(undisturbed)


def test_of_two_processes_on_one_run_one_trains_and_the_other_says_who_does(cartpole_log, undisturbed, tmp_path):
    run = tmp_path / "run"
    command = shlex.split(gipo("train", "--dataset", cartpole_log, "--out", run, *SETTINGS))
    pair = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=120)[1] for process in pair]
    winner = next(number for number in range(2) if pair[number].returncode == 0)
    other = 1 - winner
    refusals = {
        3: f"gipo: {run} is being written by process {pair[winner].pid} on {os.uname().nodename}.\n"
        "      Wait for it.\n",
        2: f"gipo: the output directory {run} is not empty.\n"
        f"      Choose another --out, or continue it with `gipo train --resume {run}`.\n",
    }
    assert said[winner] == ""
    assert said[other] == refusals[pair[other].returncode]
    assert content(run) == content(undisturbed)


@pytest.mark.parametrize(("asked", "found"), [("--sample", '"failures": 0}'), ("--broken", '"unnoticed": []}')])
def test_faults_at_points_of_a_run_are_mended_by_resuming_and_a_lack_of_care_is_noticed(cartpole_log, asked, found):
    number = ("24",) if asked == "--sample" else ()
    done = subprocess.run(
        [sys.executable, Path(__file__).parent / "faults.py", "--log", cartpole_log, asked, *number],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert found in done.stdout


@pytest.mark.parametrize(
    ("code", "first"),
    [
        ("ENOSPC", "Free some space, then continue"), ("EDQUOT", "Free some space, then continue"),
        ("EFBIG", "Lift the limit on the size of files (ulimit -f), then continue"),
        ("EACCES", "Give yourself the right to write there, then continue"),
        ("EROFS", "Have its file system mounted for writing, then continue"),
        ("EIO", "See what is wrong with the disk, and copy what is on it, then continue"),
        ("EBADF", "Mend that, then continue"),
    ],
)  # fmt: skip
def test_each_reason_has_its_own_answer(tmp_path, code, first):
    number = getattr(errno, code)
    error = durable.refusal(tmp_path, OSError(number, os.strerror(number)))
    assert error.message == f"{tmp_path} cannot be written ({os.strerror(number)})."
    assert error.hint == f"{first} with: gipo train --resume {tmp_path}"
