"""Jobs that begin alike compute their start once, wait for it no longer than they must, and end in the same bytes."""

import json

import pytest

from gipo_cli import checkpoint_files
from gipo_cli.batch import starts
from gipo_cli.batch.attempt import command_of
from gipo_cli.batch.directory import BatchDirectory, Listed
from gipo_cli.batch.jobfile import read_jobs
from gipo_cli.runs import RunDirectory

FILE = """
[defaults]
dataset = "{log}"
steps = 20
critic_steps = 20
report_every = 10
device = "cpu"
[matrix]
"""


@pytest.fixture
def leaders(cartpole_log, tmp_path):
    """By the name of a job, the one from which it takes its start."""

    def of(matrix):
        (tmp_path / "jobs.toml").write_text(FILE.format(log=cartpole_log) + matrix)
        return {job.name: job.leader for job in starts.listed(read_jobs(tmp_path / "jobs.toml").jobs)}

    return of


def test_what_the_start_does_not_depend_on_is_shared(leaders):
    found = leaders('objective = ["gipo", "no-clip"]\nkl_target = [0.1, 0.5]\nseed = [0, 1]\n')
    assert len(found) == 8
    assert {leader for name, leader in found.items() if name.endswith("seed-0")} == {
        "", "gipo_kl_target-0.1_seed-0"
    }  # fmt: skip
    assert [name for name, leader in found.items() if not leader] == [
        "gipo_kl_target-0.1_seed-0", "gipo_kl_target-0.1_seed-1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "axis",
    ["seed = [0, 1]", "critic_steps = [20, 21]", 'advantage = ["gae", "monte-carlo"]', "discount = [0.9, 0.99]",
     "rounds = [1, 2]", "batch_size = [64, 128]", 'repair = [["shift"], []]', 'device = ["cpu", "auto"]',
     "hidden_sizes = [[8], [16]]"],
)  # fmt: skip
def test_what_it_depends_on_is_not(leaders, axis):
    assert list(leaders(f"{axis}\n").values()) == ["", ""]


def test_a_job_waits_while_another_is_to_compute_its_start_and_no_longer(tmp_path):
    batch, job = BatchDirectory(tmp_path), Listed("b", {}, (), "a")
    assert starts.waits_for_start(batch, job, {"a", "b"})
    assert not starts.waits_for_start(batch, job, {"b"})  # the other one has failed before it came so far
    assert not starts.waits_for_start(batch, Listed("a", {}, ()), {"a", "b"})
    assert starts.start_to_take(batch, job) is None

    RunDirectory.create(batch.run("a"))
    first = checkpoint_files.write(batch.run("a"), 0, {"state.json": b"{}"})
    assert not starts.waits_for_start(batch, job, {"a", "b"})
    assert starts.start_to_take(batch, job) == batch.run("a")
    assert command_of(batch, job)[-2:] == ["--reuse", str(batch.run("a"))]

    (first / "state.json").write_bytes(b"damaged")
    assert not starts.waits_for_start(batch, job, {"a", "b"})
    assert starts.start_to_take(batch, job) is None

    batch.run("b").mkdir()
    (batch.run("b") / "run.json").write_text("{}")
    assert not starts.waits_for_start(batch, job, {"a", "b"})  # it goes on from its own
    assert command_of(batch, job) == ["gipo", "train", "--resume", str(batch.run("b"))]


def test_the_second_takes_the_start_of_the_first_and_has_the_bytes_of_a_run_of_its_own(gipo, cartpole_log, tmp_path):
    out = tmp_path / "batch"
    (tmp_path / "jobs.toml").write_text(FILE.format(log=cartpole_log) + 'objective = ["gipo", "no-clip"]\n')
    assert gipo("batch", tmp_path / "jobs.toml", "--out", out, "--jobs", 2, "--quiet").exit_code == 0
    commands = [json.loads((out / name / "run.json").read_text())["command"] for name in ("gipo", "no-clip")]
    assert ["--reuse" in command for command in commands] == [False, True]
    alone = tmp_path / "alone"
    assert gipo("train", "--config", out / "configs/no-clip.toml", "--out", alone, "--quiet").exit_code == 0
    files = [path.relative_to(alone) for path in (*alone.glob("checkpoints/*/*"), *alone.glob("*.npz"))]
    assert len(files) > 6
    for name in (*files, "metrics.jsonl", "config.toml", "latest"):
        assert (out / "no-clip" / name).read_bytes() == (alone / name).read_bytes()
