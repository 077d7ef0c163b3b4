"""What a batch does with the ends that executors tell of, and how executors are found."""

import signal
import subprocess
import sys
import tomllib
from math import inf
from pathlib import Path

import pytest

from gipo_cli.batch.attempt import begin
from gipo_cli.batch.directory import BatchDirectory, Listed
from gipo_cli.batch.executors import Ended
from gipo_cli.batch.running import run_jobs
from gipo_cli.registry import EXECUTORS
from gipo_cli.training.signals import Stop

TAKEN = "the machine was taken before it got any further"


class Scripted:
    """Ends one attempt after the other as it is told: how it ends, and the checkpoint that it has written."""

    slots = 9

    def __init__(self, batch, ends, adopted=()):
        self.batch, self.ends, self.adopted, self.started, self.running = batch, list(ends), adopted, 0, []

    def adopt(self, job):
        if job.name in self.adopted:
            self.running.append(job)
        return job.name in self.adopted

    def start(self, job, seconds):
        self.started += 1
        self.running.append(job)

    def ended(self):
        over, self.running = self.running, []
        return [self._end_of(job) for job in over]

    def _end_of(self, job):
        code, moved, checkpoint = self.ends.pop(0)
        self.batch.run(job.name).mkdir(exist_ok=True)
        (self.batch.run(job.name) / "latest").write_text(checkpoint)
        return Ended(job.name, code, TAKEN if moved else "", moved)

    def stop(self):
        pass


@pytest.fixture
def run(tmp_path):
    """Run a batch of one job; how often it was started, and what is known of it then."""

    def of(ends, retries=0, adopted=()):
        with BatchDirectory(tmp_path / "out") as batch:
            (batch.path / "logs").mkdir()
            executor = Scripted(batch, ends, adopted)
            run_jobs(batch, [Listed("a", {}, ())], executor, retries, Stop(), lambda fate: None)
            found = batch.attempts("a")
        return executor.started, found.exit_code, found.error

    return of


def test_an_attempt_whose_machine_was_taken_is_followed_by_another_while_it_gets_further(run):
    assert run([(143, True, "1"), (-9, True, "2"), (143, True, "3"), (0, False, "4")]) == (4, 0, "")


def test_one_that_got_no_further_has_failed_and_is_tried_again_as_often_as_was_said(run):
    assert run([(143, True, "1"), (143, True, "1")]) == (2, 143, TAKEN)


def test_failures_are_counted_apart_from_what_was_taken(run):
    ends = [(-9, False, "1"), (143, True, "2"), (143, True, "3"), (-9, False, "3")]
    assert run(ends, retries=1) == (4, -9, "killed by SIGKILL")


def test_what_an_earlier_batch_started_is_not_started_again(run):
    assert run([(0, False, "1")], adopted=["a"]) == (0, 0, "")


def test_one_that_was_cancelled_by_hand_is_left_where_it_is(run):
    assert run([(-signal.SIGTERM, False, "1")]) == (1, None, "")


@pytest.mark.parametrize("name", ["slurm", "ray"])
def test_a_missing_package_is_named_with_what_brings_it(gipo, jobs_file, tmp_path, monkeypatch, name):
    package = {"slurm": "submitit", "ray": "ray"}[name]
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"gipo_cli.batch.executors.{name}", raising=False)
    outcome = gipo("batch", jobs_file(), "--out", tmp_path / "out", "--executor", name)
    assert outcome.exit_code == 2
    assert outcome.stderr == (
        f"gipo: --executor {name} needs a package that is not installed "
        f"(import of {package} halted; None in sys.modules).\n      pip install 'gipo[{name}]'\n"
    )
    assert not (tmp_path / "out").exists()


def test_an_unknown_executor_is_refused_before_any_work(gipo, jobs_file, tmp_path):
    outcome = gipo("batch", jobs_file(), "--out", tmp_path / "out", "--executor", "slrum")
    assert (outcome.exit_code, outcome.stderr) == (
        2, "gipo: there is no executor 'slrum'.\n      Did you mean 'slurm'?\n",
    )  # fmt: skip
    assert not (tmp_path / "out").exists()


def test_every_executor_but_that_of_this_machine_has_its_extra():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert set(EXECUTORS.places) - {"local"} <= set(project["optional-dependencies"])


@pytest.mark.parametrize(("seconds", "limit"), [(inf, []), (60.0, ["--max-time", "58.0s"])])
def test_a_job_knows_what_is_left_of_the_time(tmp_path, monkeypatch, seconds, limit):
    started = []
    monkeypatch.setattr(subprocess, "Popen", lambda command, **named: started.append(command))
    (tmp_path / "logs").mkdir()
    begin(BatchDirectory(tmp_path), Listed("a", {}, ()), 1, seconds)
    config, out = tmp_path / "configs/a.toml", tmp_path / "a"
    assert started[0][3:] == ["train", "--config", str(config), "--out", str(out), "--quiet", *limit]
