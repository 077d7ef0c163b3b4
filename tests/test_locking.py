"""Locks: who holds one can be asked at any time, and asking takes it from nobody."""

import resource
import signal
import subprocess
import sys
from contextlib import contextmanager

import pytest

from gipo_cli.locking import HeldError, allow_open_files, hold, holder, release, tell

ASKING = """
import sys
from pathlib import Path
from gipo_cli.locking import holder
print("asking", flush=True)
while True:
    holder(Path(sys.argv[1]))
"""
HOLDING = """
import sys, time
from pathlib import Path
from gipo_cli.locking import hold
lock = hold(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


@contextmanager
def started(program, path):
    """A process that has begun with it, and is gone after the block, whatever came of that."""
    with subprocess.Popen([sys.executable, "-c", program, str(path)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline()
            yield process
        finally:
            process.kill()


def test_whoever_asks_keeps_nobody_from_taking_it(tmp_path):
    path = tmp_path / "lock"
    path.touch()
    with started(ASKING, path):
        for _ in range(300):
            release(hold(path))


def test_the_one_who_holds_it_is_named_and_told_and_nobody_else(tmp_path):
    path = tmp_path / "lock"
    assert holder(path) is None
    assert not tell(path, signal.SIGTERM)
    with started(HOLDING, path) as holding:
        assert holder(path).startswith(f"process {holding.pid} on ")
        with pytest.raises(HeldError, match=f"^process {holding.pid} on "):
            hold(path)
        assert tell(path, signal.SIGTERM)
        assert holding.wait(10) == -signal.SIGTERM
    assert holder(path) is None
    assert path.read_text().startswith(f"process {holding.pid} on ")  # an old name, which holds nothing
    assert not tell(path, signal.SIGTERM)


def test_one_on_another_machine_is_not_told(tmp_path):
    path = tmp_path / "lock"
    handle = hold(path)
    try:
        path.write_text("process 1 on elsewhere\n")
        assert holder(path) == "process 1 on elsewhere"
        assert not tell(path, signal.SIGKILL)
    finally:
        release(handle)


def test_the_limit_on_open_files_is_raised_as_far_as_it_can_be():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, before[1]))
        assert allow_open_files(90) == 90
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (100, before[1])
        assert allow_open_files(110) == 110
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (110, before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_a_limit_on_open_files_that_the_system_holds_is_told(monkeypatch):
    given = []
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (50, 100))
    monkeypatch.setattr(resource, "setrlimit", lambda kind, limits: given.append(limits))
    assert (allow_open_files(101), given) == (100, [(100, 100)])
