"""`gipo batch` from end to end: real processes, real kills."""

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from xml.etree import ElementTree as ET

import pytest

from gipo_cli.locking import holder

LONG = 'steps = 1500\ncritic_steps = 30\nreport_every = 10\ncheckpoint_every = 20\ndevice = "cpu"\n'
QUICK = 'steps = 20\ncritic_steps = 20\nreport_every = 10\ndevice = "cpu"\n'


def batch(*arguments):
    """Start the command as a shell does."""
    return subprocess.Popen(
        [sys.executable, "-m", "gipo_cli", "batch", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip


def finish(*arguments):
    with batch(*arguments) as process:
        out, said = process.communicate(timeout=300)
    return process.returncode, out, said


def trains(run):
    """Wait until a run has written some reports."""
    until = time.monotonic() + 120
    metrics = run / "metrics.jsonl"
    while not metrics.exists() or metrics.read_bytes().count(b"\n") < 2:
        assert time.monotonic() < until
        time.sleep(0.02)


def held(out, names):
    """Wait until every job is being trained."""
    until = time.monotonic() + 120
    while not all(holder(out / name / "run.lock") for name in names):
        assert time.monotonic() < until
        time.sleep(0.02)


def content(run):
    files = [run / "metrics.jsonl", run / "log_ratios.npz", run / "latest", run / "config.toml"]
    files += run.glob("checkpoints/step-*/*")
    return {str(path.relative_to(run)): path.read_bytes() for path in files}


def test_a_batch_says_what_failed_and_tries_only_that_again(gipo, cartpole_log, tmp_path):
    broken = tmp_path / "broken.hdf5"
    broken.write_bytes(cartpole_log.read_bytes()[:5000])
    file, out = tmp_path / "jobs.toml", tmp_path / "batch"
    file.write_text(
        f'[defaults]\n{QUICK}\n[matrix]\ndataset = ["{cartpole_log}", "{broken}"]\nseed = [0]\n'
        f'[[job]]\nname = "strict"\ndataset = "{cartpole_log}"\nfail_if = "held_out.kl > -9"\n'
    )
    code, stdout, said = finish(file, "--out", out, "--jobs", "2", "--retries", "1")
    assert code == 6, said
    assert "gipo: 1 of 3 jobs did not finish.\n      broken_seed-0: failed: " in said
    assert f"What each said: {out / 'logs'}" in said
    assert "3 jobs: 1 failed, 1 finished, 1 gate failed" in stdout
    found = {job["job"]: job for job in json.loads(gipo("batch", "status", out, "--json").stdout)["jobs"]}
    assert {name: (job["status"], job["attempts"]) for name, job in found.items()} == {
        "cartpole_seed-0": ("finished", 1), "broken_seed-0": ("failed", 2), "strict": ("gate failed", 1),
    }  # fmt: skip
    assert found["strict"]["gates"] == [
        {"expression": "held_out.kl > -9", "key": "held_out.kl", "value": found["strict"]["kl"], "held": False}
    ]

    shutil.copy(cartpole_log, broken)
    before = {name: (out / name / "run.json").read_bytes() for name in ("cartpole_seed-0", "strict")}
    code, stdout, said = finish(file, "--out", out)
    assert code == 4
    assert said.startswith("2 of 3 jobs have finished before and are skipped.\n[3/3] broken_seed-0 finished  ESS ")
    assert said.endswith("gipo: gates did not hold in 1 of 3 jobs.\n      strict: held_out.kl > -9\n")
    assert before == {name: (out / name / "run.json").read_bytes() for name in before}

    rows = list(csv.DictReader(io.StringIO(gipo("batch", "status", out, "--format", "csv").stdout)))
    assert [(row["job"], row["given.seed"], row["gates"]) for row in rows] == [
        ("cartpole_seed-0", "0", ""), ("broken_seed-0", "0", ""), ("strict", "", "0/1"),
    ]  # fmt: skip
    root = ET.fromstring(gipo("batch", "status", out, "--format", "junit").stdout)
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("4", "1", "0")
    lines = gipo("batch", "status", out, "--format", "md").stdout.splitlines()
    assert lines[0].startswith("| job | status | step |")
    assert len(lines) == 5

    file.write_text(file.read_text().replace("steps = 20\n", "steps = 30\n", 1))
    outcome = gipo("batch", file, "--out", out)
    assert outcome.exit_code == 2
    assert outcome.stderr == (
        f"gipo: {out / 'cartpole_seed-0'} was begun with steps 20, and the file now says 30.\n"
        "      Give the job another name, or the batch another --out; runs are never overwritten.\n"
    )


def test_stopped_cancelled_killed_and_gone_on_with_it_ends_in_the_same_bytes(cartpole_log, tmp_path):
    file, out = tmp_path / "jobs.toml", tmp_path / "batch"
    file.write_text(f'[defaults]\n{LONG}dataset = "{cartpole_log}"\n[matrix]\nseed = [0, 1]\n')
    names = ("seed-0", "seed-1")

    with batch(file, "--out", out, "--jobs", "2") as process:
        for name in names:
            trains(out / name)
        code, _, said = finish(file, "--out", out)  # a second one at the same time
        assert code == 3
        who = f"process {process.pid} on {os.uname().nodename}"
        assert said == f"gipo: {out} is being run by {who}.\n      Wait for it, or: gipo batch cancel {out}\n"
        process.send_signal(signal.SIGINT)
        _, said = process.communicate()
    assert process.returncode == 130, said
    assert said.endswith(
        f"gipo: stopped; 2 jobs are saved half-way.\n      Go on with: gipo batch {file} --out {out}\n"
    )
    for name in names:
        assert json.loads((out / name / "run.json").read_text())["status"] == "interrupted"

    with batch(file, "--out", out, "--jobs", "2") as process:
        held(out, names)
        code, stdout, said = finish("cancel", out)
        assert (code, stdout) == (0, "Stopped 2 running jobs; everything they did is saved.\n"), said
        process.communicate()
    assert process.returncode == 143
    assert finish("cancel", out)[1] == "Nothing runs.\n"

    with batch(file, "--out", out, "--jobs", "2") as process:
        held(out, names)
        process.kill()
        process.communicate()
    # What it left behind trains on; the next batch waits for it and does not train it twice.
    code, _, said = finish(file, "--out", out, "--jobs", "2")
    assert code == 0, said
    alone = tmp_path / "alone"
    subprocess.run(
        [sys.executable, "-m", "gipo_cli", "train", "--config", out / "configs/seed-1.toml", "--out", alone, "--quiet"],
        check=True, capture_output=True,
    )  # fmt: skip
    # Stops leave a checkpoint more; all that both have is the same.
    mine, theirs = content(out / "seed-1"), content(alone)
    assert {key: mine[key] for key in theirs} == theirs


def test_a_job_that_is_stopped_as_it_starts_has_not_failed(gipo, cartpole_log, tmp_path):
    file, out = tmp_path / "jobs.toml", tmp_path / "batch"
    file.write_text(f'[[job]]\ndataset = "{cartpole_log}"\n{LONG}')
    with batch(file, "--out", out) as process:
        while not (out / "batch.json").exists():
            time.sleep(0.01)
        process.terminate()
        _, said = process.communicate()
    assert process.returncode == 143, said
    (job,) = json.loads(gipo("batch", "status", out, "--json").stdout)["jobs"]
    assert (job["status"], job["attempts"], job["error"]) == ("waiting", 1, None)


def test_a_batch_directory_that_cannot_be_written_is_one_sentence(gipo, cartpole_log, tmp_path):
    file, out = tmp_path / "jobs.toml", tmp_path / "batch"
    file.write_text(f'[[job]]\nname = "a"\ndataset = "{cartpole_log}"\n{QUICK}')
    out.mkdir()
    (out / "jobs.json").write_text('{"format": 1, "jobs": []}')
    (out / "logs" / "a.log").mkdir(parents=True)
    outcome = gipo("batch", file, "--out", out, "--quiet")
    assert outcome.exit_code == 3
    assert outcome.stderr == (
        f"gipo: {out} cannot be written (Is a directory); what ran was asked to save and stop.\n"
        f"      Mend that, then go on with: gipo batch {file} --out {out}\n"
    )


def test_a_list_of_jobs_that_is_somebody_elses_is_left_alone(gipo, cartpole_log, tmp_path):
    file, out = tmp_path / "jobs.toml", tmp_path / "theirs"
    file.write_text(f'[[job]]\ndataset = "{cartpole_log}"\n')
    out.mkdir()
    (out / "jobs.json").write_text('["mine"]')
    outcome = gipo("batch", file, "--out", out)
    assert outcome.exit_code == 3
    assert outcome.stderr.startswith(f"gipo: {out}/jobs.json is not of format 1, which this version reads.\n")
    assert [path.name for path in out.iterdir()] == ["jobs.json"]
    assert (out / "jobs.json").read_text() == '["mine"]'


def test_a_dry_run_prints_the_commands_and_writes_nothing(gipo, cartpole_log, tmp_path):
    file = tmp_path / "jobs.toml"
    file.write_text(f'[[job]]\ndataset = "{cartpole_log}"\nfail_if = "held_out.kl > 1"\n')
    outcome = gipo("batch", file, "--out", tmp_path / "batch", "--dry-run")
    assert outcome.stdout == (
        f"cartpole\n    gipo train --config {tmp_path}/batch/configs/cartpole.toml --out {tmp_path}/batch/cartpole "
        f"--fail-if 'held_out.kl > 1'\n\n1 jobs in {tmp_path}/batch.\n"
    )
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("status", "nowhere"), 3, "gipo: nowhere does not exist.\n      Batches are made by `gipo batch JOBS.toml"),
        (("cancel", "."), 3, "gipo: . is not a batch: it has no jobs.json.\n"),
        (("status", ".", "--format", "xls"), 2, "gipo: there is no format 'xls'.\n"),
        (("nowhere.toml",), 2, "gipo: nowhere.toml cannot be read (No such file or directory).\n"),
        (("jobs.toml",), 3, "gipo: jobs.toml:2: there is no file gone.hdf5.\n"),
        (("jobs.toml", "--dry-run"), 3, "gipo: jobs.toml:2: there is no file gone.hdf5.\n"),
        (("jobs.toml", "--out", "."), 2, "gipo: the batch directory . is not empty, and no batch.\n"),
        (("jobs.toml", "--out", "jobs.toml"), 2, "gipo: the batch directory jobs.toml is a file.\n"),
    ],
)
def test_what_is_not_there_is_named(gipo, tmp_path, monkeypatch, arguments, code, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "jobs.toml").write_text('[[job]]\ndataset = "gone.hdf5"\n')
    outcome = gipo("batch", *arguments)
    assert outcome.exit_code == code
    assert outcome.stderr.startswith(said)
    assert [path.name for path in tmp_path.iterdir()] == ["jobs.toml"]


def test_when_its_time_is_over_what_runs_has_saved_and_the_rest_waits(cartpole_log, tmp_path):
    file, out = tmp_path / "jobs.toml", tmp_path / "batch"
    longest = LONG.replace("1500", "1000000")
    file.write_text(f'[defaults]\ndataset = "{cartpole_log}"\n{longest}[matrix]\nseed = [0, 1]\n')
    code, printed, said = finish(file, "--out", out, "--max-time", "14s", "--max-time-exit", 75, "--quiet", "--json")
    assert code == 75, said
    assert said == (
        f"gipo: --max-time 14s: 2 of 2 jobs are left to go on with.\n      Go on with: gipo batch {file} --out {out}\n"
    )
    first, second = json.loads(printed)["jobs"]
    assert (first["status"], second["status"]) == ("interrupted", "waiting")
    assert first["attempts"] == 1
    if first["step"]:  # none where the machine is so busy that it had hardly begun
        assert (out / "seed-0/checkpoints" / f"step-{first['step']:08d}").is_dir()


def test_what_failed_of_itself_is_told_before_the_time(cartpole_log, tmp_path):
    file, out = tmp_path / "jobs.toml", tmp_path / "batch"
    file.write_text(f'[defaults]\ndataset = "{cartpole_log}"\n{QUICK}[matrix]\ninit = ["{tmp_path}/nowhere"]\n')
    code, _, said = finish(file, "--out", out, "--max-time", "1h", "--quiet")
    assert code == 6
    assert said.startswith("gipo: 1 of 1 jobs did not finish.\n")
