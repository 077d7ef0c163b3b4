"""What the tests of executors share: a job file, and the run that every executor has to come to."""

import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

JOBS = """
[[job]]
name = "a"
dataset = "{log}"
steps = 400
critic_steps = 30
report_every = 20
checkpoint_every = 20
device = "cpu"
"""


@pytest.fixture
def jobs_file(cartpole_log, tmp_path):
    """A job file of one job, with what else is said."""

    def write(more=""):
        path = tmp_path / "jobs.toml"
        path.write_text(JOBS.format(log=cartpole_log) + more)
        return path

    return write


@pytest.fixture(scope="session")
def start():
    """Start `gipo batch ARGUMENTS...` as a shell does; it is gone after the block, whatever came of that."""

    @contextmanager
    def run(*arguments):
        with subprocess.Popen(
            [sys.executable, "-m", "gipo_cli", "batch", *map(str, arguments)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        ) as process:  # fmt: skip
            try:
                yield process
            finally:
                process.kill()

    return run


@pytest.fixture(scope="session")
def content():
    """All of a run that must not depend on who runs it."""

    def read(run):
        files = [run / "metrics.jsonl", run / "log_ratios.npz", run / "latest", run / "config.toml"]
        files += run.glob("checkpoints/step-*/*")
        return {str(path.relative_to(run)): path.read_bytes() for path in files}

    return read


@pytest.fixture(scope="session")
def undisturbed(content, cartpole_log, tmp_path_factory):
    """What the job comes to where it is trained by itself."""
    from gipo_cli.cli import main

    run = tmp_path_factory.mktemp("undisturbed") / "a"
    settings = ("critic_steps=30", "report_every=20", "checkpoint_every=20")
    given = [part for setting in settings for part in ("--set", setting)]
    with pytest.raises(SystemExit) as exited:
        main(["train", "--dataset", str(cartpole_log), "--steps", "400", "--device", "cpu", "--out", str(run), *given])
    assert not exited.value.code
    return content(run)


@pytest.fixture(scope="session")
def until():
    """Wait until something holds."""

    def wait(holds):
        end = time.monotonic() + 60
        while not holds():
            assert time.monotonic() < end
            time.sleep(0.02)

    return wait


@pytest.fixture(scope="session")
def trains(until):
    """Wait until a run has a checkpoint of a step, and another than it had before."""

    def newest(run):
        return (run / "latest").read_text() if (run / "latest").exists() else ""

    def wait(run, before=""):
        until(lambda: newest(run) not in ("", "step-00000000\n", before))

    return wait
