"""Real torchrun on real processes: what several ranks reach, and how their job ends when one of them dies."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

SETTINGS = (
    "--device", "cpu", "--steps", "200", "--set", "critic_steps=30", "--set", "report_every=10",
    "--set", "checkpoint_every=20", "--set", "certify=false", "--set", "ess_base=0.5",
)  # fmt: skip
TOLERANCE = 1e-3  # of parameters and figures after 200 updates; examples/studies/ranks.md has what is measured


def torchrun(*arguments, ranks=2):
    """Start a job of several ranks."""
    return subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks),
         *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def gipo(*arguments):
    """What the command line says, alone."""
    done = subprocess.run(
        [sys.executable, "-m", "gipo_cli", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done


def content(run):
    """Every byte that must not depend on interruptions, of what an uninterrupted run has."""
    files = [run / "metrics.jsonl", run / "log_ratios.npz", run / "latest"]
    files += [path for step in range(0, 201, 20) for path in sorted(run.glob(f"checkpoints/step-{step:08d}/*"))]
    return {str(path.relative_to(run)): path.read_bytes() for path in files}


def workers(job):
    """Process ids of a job's ranks, in order."""
    found = {}
    for children in Path(f"/proc/{job.pid}/task").glob("*/children"):
        for child in children.read_text().split():
            words = Path(f"/proc/{child}/environ").read_bytes().split(b"\0")
            found |= {int(word[5:]): int(child) for word in words if word.startswith(b"RANK=")}
    return [found[rank] for rank in sorted(found)]


def reports(run):
    return (run / "metrics.jsonl").read_bytes().count(b"\n") if (run / "metrics.jsonl").exists() else 0


def ended_by(job, run, number, of=None):
    """Send a signal to a rank, or to torchrun itself, once a few more reports are there; what the job then says."""
    until = time.monotonic() + 60
    already = reports(run)
    while reports(run) < already + 3:
        assert job.poll() is None and time.monotonic() < until, job.communicate()
        time.sleep(0.01)
    ranks = workers(job)
    began = time.monotonic()
    os.kill(job.pid if of is None else ranks[of], number)
    said = job.communicate(timeout=60)[1]
    assert time.monotonic() - began < 25
    assert not [pid for pid in ranks if Path(f"/proc/{pid}").exists()]
    assert job.returncode != 0
    return said


@pytest.fixture(scope="module")
def by_two(cartpole_log, tmp_path_factory):
    """A run of two ranks that was never stopped."""
    run = tmp_path_factory.mktemp("two") / "run"
    with torchrun("-m", "gipo_cli", "train", "--dataset", cartpole_log, "--out", run, *SETTINGS, "--json") as job:
        printed, said = job.communicate(timeout=120)
    assert job.returncode == 0, said
    assert json.loads(printed)["status"] == "finished"  # one document, of one rank
    assert said.count("policy 200/200") == 1
    return run


def test_two_ranks_reach_what_one_does_and_one_goes_on_with_their_run(cartpole_log, by_two, tmp_path):
    gipo("train", "--dataset", cartpole_log, "--out", tmp_path / "one", *SETTINGS, "--quiet")
    # The last 100 updates by one process after 100 by two.
    shutil.copytree(by_two, tmp_path / "mixed")
    for step in range(120, 201, 20):
        shutil.rmtree(tmp_path / f"mixed/checkpoints/step-{step:08d}")
    said = gipo("train", "--resume", tmp_path / "mixed").stderr
    changed = "the run was trained by 2 ranks and goes on with 1: equal up to rounding, not in bytes."
    assert f"note: {changed}\n" in said
    assert json.loads((by_two / "run.json").read_text())["ranks"] == 2
    assert json.loads((tmp_path / "mixed/run.json").read_text())["ranks"] == 1
    last = "checkpoints/step-00000200"
    assert json.loads((by_two / last / "state.json").read_text())["ranks"] == 2
    assert "ranks" not in json.loads((tmp_path / "one" / last / "state.json").read_text())

    runs = (tmp_path / "one", by_two, tmp_path / "mixed")
    one, *others = (load_file(run / last / "policy.safetensors") for run in runs)
    start = load_file(tmp_path / "one/checkpoints/step-00000000/policy.safetensors")
    assert any(np.abs(one[name] - start[name]).max() > 0.01 for name in one)
    for other in others:
        for name in one:
            np.testing.assert_allclose(other[name], one[name], rtol=0, atol=TOLERANCE * np.abs(one[name]).max())
    figures = [json.loads((run / "run.json").read_text())["held_out"] for run in (tmp_path / "one", by_two)]
    assert figures[1] == pytest.approx(figures[0], rel=TOLERANCE)


def test_a_job_whose_ranks_die_ends_with_the_reason_and_goes_on_to_the_same_bytes(cartpole_log, by_two, tmp_path):
    run = tmp_path / "run"
    resume = ("-m", "gipo_cli", "train", "--resume", run)
    again = f"      Continue under the same torchrun command with: gipo train --resume {run}\n"
    with torchrun("-m", "gipo_cli", "train", "--dataset", cartpole_log, "--out", run, *SETTINGS) as job:
        said = ended_by(job, run, signal.SIGKILL, of=1)
    assert said.count("gipo: ") == 1
    assert "gipo: rank 1 of 2 died; the others cannot go on without it.\n" + again in said
    record = json.loads((run / "run.json").read_text())
    assert (record["status"], record["error"]) == ("failed", "rank 1 of 2 died; the others cannot go on without it.")

    with torchrun(*resume) as job:
        said = ended_by(job, run, signal.SIGKILL, of=0)
    assert said.count("gipo: ") == 1
    assert "gipo: rank 0 of 2 died; the others cannot go on without it.\n" + again in said
    assert json.loads((run / "run.json").read_text())["status"] == "failed"

    with torchrun(*resume) as job:
        said = ended_by(job, run, signal.SIGTERM)
    assert said.count("gipo: ") == 1
    assert f"Continue with: gipo train --resume {run}" in said
    assert json.loads((run / "run.json").read_text())["status"] == "interrupted"

    with torchrun(*resume, "--quiet") as job:
        said = job.communicate(timeout=120)[1]
    assert (job.returncode, said) == (0, "")
    assert content(run) == content(by_two)


def test_closed_forms_and_an_error_of_one_rank_is_said_once_however_often_torchrun_starts_them_again():
    with torchrun("--max-restarts", 1, Path(__file__).parent / "ranks_in_closed_form.py") as job:
        printed, said = job.communicate(timeout=120)
    assert printed == "closed forms hold\n" * 4, said
    assert said.count("gipo: ") == 2
    assert said.count("gipo: the disk of this rank is full.\n      Make room.\n") == 2
    assert job.returncode == 1


@pytest.mark.parametrize("rank", ["0", "1"])
def test_what_every_rank_would_say_is_said_by_the_first(rank):
    environment = {"TORCHELASTIC_RUN_ID": "x", "RANK": rank, "WORLD_SIZE": "2", "LOCAL_RANK": rank, "GROUP_RANK": "0"}
    for arguments, code, words in ((["--bogus"], 2, "No such option"), (["--help"], 0, "--dataset")):
        done = subprocess.run(
            [sys.executable, "-m", "gipo_cli", "train", *arguments],
            env={**os.environ, **environment}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == code
        assert (words in done.stdout + done.stderr) if rank == "0" else (done.stdout + done.stderr == "")


@pytest.mark.cuda
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there are no two CUDA devices on this machine")
def test_two_gpus_agree_with_one(cartpole_log, tmp_path):
    settings = [word if word != "cpu" else "cuda" for word in SETTINGS]
    for ranks in (1, 2):
        with torchrun(
            "-m", "gipo_cli", "train", "--dataset", cartpole_log, "--out", tmp_path / str(ranks), *settings, ranks=ranks
        ) as job:
            said = job.communicate(timeout=120)[1]
        assert job.returncode == 0, said
    one, two = (json.loads((tmp_path / ranks / "run.json").read_text())["held_out"] for ranks in "12")
    assert two == pytest.approx(one, rel=0.05, abs=1e-3)
