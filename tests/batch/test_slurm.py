"""The Slurm executor against a Slurm of this machine: scripts, queue, ends of every kind, and a batch that dies."""

import json
import os
import signal
import subprocess
import sys
import time
from importlib.util import module_from_spec, spec_from_file_location
from math import inf
from pathlib import Path

import pytest

from gipo_cli.batch.directory import BatchDirectory, Listed
from gipo_cli.batch.slurm_queue import left

pytest.importorskip("submitit", reason="needs gipo[slurm]")


def loaded(name):
    spec = spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


fake_slurm = loaded("fake_slurm")


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """The state of a Slurm whose programs are on the PATH; what is left in its queue is cancelled."""
    environment = fake_slurm.install(tmp_path, os.environ["PATH"])
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    yield Path(environment["FAKE_SLURM"])
    numbers = [path.stem for path in Path(environment["FAKE_SLURM"]).glob("*.state")]
    subprocess.run(["scancel", *numbers], check=True)


@pytest.fixture
def executor(slurm, tmp_path):
    """An executor of a batch in `out`, by the settings of its table."""
    from gipo_cli.batch.executors.slurm import Slurm

    batch = BatchDirectory(tmp_path / "out")
    batch.path.mkdir()
    return lambda **settings: Slurm(batch, None, settings)


@pytest.fixture
def ended(until):
    """How the attempts ended that end next."""

    def wait(executor):
        found = []
        until(lambda: bool(found.extend(executor.ended()) or found))
        return [(end.name, end.code, end.cause, end.moved) for end in found]

    return wait


JOB = Listed("a", {}, ())


def test_the_script_says_what_the_file_asks_for(slurm, executor, ended, tmp_path):
    (slurm / "hold").touch()
    asked = executor(
        partition="long", account="lab", time="1-12:00:00", mem="16GB", cpus_per_task=4, gpus_per_node=1,
        setup=["module load cuda"], signal_delay_s=120, additional_parameters={"reservation": "mine"},
    )  # fmt: skip
    asked.start(JOB, inf)
    lines = (slurm / "100.sh").read_text().splitlines()
    for line in (
        "partition=long", "account=lab", "time=1-12:00:00", "mem=16GB", "cpus-per-task=4", "gpus-per-node=1",
        "nodes=1", "signal=USR2@120", "reservation=mine",
    ):  # fmt: skip
        assert f"#SBATCH --{line}" in lines
    assert lines.index("module load cuda") < lines.index("export SUBMITIT_EXECUTOR=slurm")
    folder = tmp_path / "out/slurm"
    assert lines[-1].startswith("srun ")
    assert lines[-1].endswith(f" {sys.executable} -u -m submitit.core._submit {folder}")
    assert (folder / "a.job").read_text() == "100"

    # The batch dies; another one finds the job that waits, even where its id was not kept in time.
    assert executor().adopt(JOB)
    (folder / "a.job").unlink()
    again = executor()
    assert again.adopt(JOB)
    assert not again.adopt(Listed("b", {}, ()))
    assert left(tmp_path / "out") == {"100": "a"}
    again.stop()
    assert ended(again) == [("a", -signal.SIGTERM, "", False)]
    assert left(tmp_path / "out") == {}
    assert not executor().adopt(JOB)


def test_a_job_that_was_not_told_what_to_do_before_the_batch_died_is_cancelled(slurm, executor, tmp_path):
    (slurm / "hold").touch()
    executor().start(JOB, inf)
    (tmp_path / "out/slurm/100_submitted.pkl").unlink()
    assert not executor().adopt(JOB)
    assert (slurm / "100.state").read_text() == "CANCELLED"


def test_an_hour_is_asked_for_where_nothing_is(slurm, executor):
    (slurm / "hold").touch()
    executor().start(JOB, inf)
    assert "#SBATCH --time=60\n" in (slurm / "100.sh").read_text()


@pytest.mark.parametrize(
    ("state", "said", "end"),
    [
        ("RUNNING", "0", (0, "", False)),  # Slurm may take its time to see it
        ("COMPLETED", "5", (5, "", False)),
        ("COMPLETED", "143", (143, "Slurm stopped its job 100 (COMPLETED) before it got any further", True)),
        ("TIMEOUT", None, (-9, "Slurm stopped its job 100 (TIMEOUT) before it got any further", True)),
        ("NODE_FAIL", None, (-9, "Slurm stopped its job 100 (NODE_FAIL) before it got any further", True)),
        ("OUT_OF_MEMORY", None, (-9, "Slurm ended its job 100 (OUT_OF_MEMORY)", False)),
        ("CANCELLED", "143", (-15, "", False)),
        (None, None, (-9, "Slurm ended its job 100 (no longer known)", False)),
        ("PENDING", "143", None),  # Slurm itself has put it into the queue again
        ("PENDING", None, None),
    ],
)
def test_how_a_job_ended(slurm, executor, tmp_path, monkeypatch, state, said, end):
    (slurm / "hold").touch()
    monkeypatch.setattr("gipo_cli.batch.executors.slurm.OFTEN", -1)
    one = executor()
    one.start(JOB, inf)
    number = slurm / "100.state"
    number.write_text("CANCELLED")  # so that nothing waits to run it
    time.sleep(0.1)
    number.write_text(state) if state else number.unlink()
    if said:
        (tmp_path / "out/slurm/100.exit").write_text(said)
    found = [(e.code, e.cause, e.moved) for e in one.ended()]
    number.write_text("CANCELLED")
    assert found == ([end] if end else [])


def test_slurm_that_takes_no_job_is_quoted_and_the_job_has_failed(gipo, slurm, jobs_file, tmp_path):
    (slurm / "refuse").write_text("sbatch: error: invalid partition specified: long\n")
    outcome = gipo("batch", jobs_file(), "--out", tmp_path / "out", "--executor", "slurm", "--quiet")
    assert outcome.exit_code == 6
    assert outcome.stderr.startswith(
        "gipo: 1 of 1 jobs did not finish.\n"
        "      a: failed: Slurm does not take it: sbatch: error: invalid partition specified: long\n"
    )


@pytest.mark.parametrize("program", ["sbatch", "squeue"])
def test_a_machine_without_slurm_is_named(gipo, slurm, jobs_file, tmp_path, program):
    (tmp_path / "bin" / program).unlink()
    outcome = gipo("batch", jobs_file(), "--out", tmp_path / "out", "--executor", "slurm")
    assert outcome.exit_code == 2
    assert outcome.stderr == (
        f"gipo: --executor slurm finds no {program} on this machine.\n"
        '      Start the batch where jobs are submitted, or try it out here: [slurm] cluster = "local"\n'
    )
    assert not (tmp_path / "out/jobs.json").exists()


def test_a_slurm_that_does_not_answer_is_quoted(gipo, slurm, jobs_file, tmp_path):
    (tmp_path / "bin" / "squeue").write_text("#!/bin/sh\necho 'slurm_load_jobs error: no controller' >&2; exit 1\n")
    outcome = gipo("batch", jobs_file(), "--out", tmp_path / "out", "--executor", "slurm")
    assert outcome.exit_code == 3
    assert outcome.stderr == (
        "gipo: Slurm does not say what is in its queue (slurm_load_jobs error: no controller).\n      Try: squeue\n"
    )


def test_warned_of_its_time_limit_and_left_behind_by_its_batch_it_ends_in_the_same_bytes(
    start, slurm, jobs_file, tmp_path, content, undisturbed, trains, until
):
    out = tmp_path / "out"
    given = (jobs_file('[slurm]\npartition = "long"\n'), "--out", out, "--executor", "slurm")
    with start(*given) as process:
        trains(out / "a")
        (slurm / "hold").touch()
        fake_slurm.tell(100, signal.SIGUSR2, slurm)
        until(lambda: (out / "slurm/a.job").read_text() == "101")  # it goes on, and waits
        process.kill()
        process.communicate()
    assert (out / "slurm/100.exit").read_text() == "143"
    attempts = json.loads((out / "batch.json").read_text())["jobs"]["a"]
    assert attempts == {"attempts": 2, "exit_code": None, "error": ""}

    (slurm / "hold").unlink()
    with start(*given) as process:
        _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert sorted(path.name for path in slurm.glob("*.sh")) == ["100.sh", "101.sh"]  # nothing was submitted twice
    found = content(out / "a")
    assert {key: found[key] for key in undisturbed} == undisturbed  # a stop leaves a checkpoint more


@pytest.mark.parametrize("waits", [True, False])
def test_cancel_reaches_a_job_whose_batch_is_dead(start, slurm, jobs_file, tmp_path, gipo, until, trains, waits):
    out = tmp_path / "out"
    if waits:
        (slurm / "hold").touch()
    with start(jobs_file(), "--out", out, "--executor", "slurm") as process:
        until(lambda: (out / "slurm/a.job").exists())
        process.kill()
        process.communicate()
    if not waits:
        trains(out / "a")
    outcome = gipo("batch", "cancel", out, "--json")
    assert (outcome.exit_code, json.loads(outcome.stdout)["stopped"]) == (0, ["a"])
    assert (slurm / "100.state").read_text() == "CANCELLED"
    assert gipo("batch", "cancel", out).stdout == "Nothing runs.\n"
    (job,) = json.loads(gipo("batch", "status", out, "--json").stdout)["jobs"]
    assert job["status"] == ("waiting" if waits else "interrupted")


def test_a_stopped_batch_cancels_its_jobs_and_says_how_to_go_on(start, slurm, jobs_file, tmp_path, until):
    file, out = jobs_file(), tmp_path / "out"
    (slurm / "hold").touch()
    with start(file, "--out", out, "--executor", "slurm") as process:
        until(lambda: (out / "slurm/a.job").exists())
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert said.endswith(f"      Go on with: gipo batch {file} --out {out} --executor slurm\n")
    assert (slurm / "100.state").read_text() == "CANCELLED"


def test_submitits_own_stand_in_for_a_cluster_comes_to_the_same_bytes(
    start, gipo, jobs_file, tmp_path, content, undisturbed, until
):
    out = tmp_path / "out"
    given = (jobs_file('[slurm]\ncluster = "local"\npartition = "long"\n'), "--out", out, "--executor", "slurm")
    with start(*given) as process:
        until(lambda: (out / "logs/a.log").exists())
        process.terminate()
        _, said = process.communicate(timeout=60)
    assert process.returncode == 143, said
    (job,) = json.loads(gipo("batch", "status", out, "--json").stdout)["jobs"]
    assert job["status"] in ("waiting", "interrupted")
    with start(*given) as process:
        _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert content(out / "a") == undisturbed
