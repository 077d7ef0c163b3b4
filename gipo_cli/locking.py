"""Locks on directories: held by one process, let go of by the kernel however that process ends."""

import fcntl
import os
import re
import resource
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path

from gipo_cli import durable

PATIENCE = 0.3  # seconds for which a lock may be taken by somebody who only looks whether it is (`holder`)
LONGEST = 1000  # bytes of a name
SETTLING = 0.05  # seconds within which whoever takes a lock has written its name into it


class HeldError(Exception):
    """Another process holds the lock; the text says which, where it is known."""


@durable.failing_by_name
def hold(path: Path) -> int:
    """Take a lock and write into it who has it.

    Returns:
        A handle, which `release` closes; the end of the process does, too.

    Raises:
        HeldError: another process has it.
        WriteFailed: it cannot be written.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        until = time.monotonic() + PATIENCE
        while not _try(handle, fcntl.LOCK_EX):
            if time.monotonic() > until:
                raise HeldError(os.read(handle, LONGEST).decode(errors="replace").strip() or "another process")
            time.sleep(PATIENCE / 30)
        os.ftruncate(handle, 0)
        durable.write_all(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
    except BaseException:
        release(handle)
        raise
    return handle


def release(handle: int) -> None:
    """Let go of a lock."""
    with suppress(OSError):
        os.close(handle)


def allow_open_files(wanted: int) -> int:
    """Raise this process's limit on open files, of which each lock is one, as far towards `wanted` as the system lets.

    Returns:
        How many of those wanted it may have open.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return most


def holder(path: Path) -> str | None:
    """Who holds a lock at this moment; none where nobody does."""
    try:
        with path.open(encoding="utf-8") as lock:
            return None if _try(lock.fileno(), fcntl.LOCK_SH) else lock.read().strip() or "another process"
    except OSError:
        return None


def tell(path: Path, number: signal.Signals) -> bool:
    """Send a signal to the process that holds a lock; false where nobody does, or one on another machine."""
    who, before = holder(path), ""
    while who is not None and who != before:  # a name that is a moment old is that of the one before, gone long ago
        time.sleep(SETTLING)
        who, before = holder(path), who
    found = re.fullmatch(r"process (\d+) on (.*)", who or "")
    if found is None or found[2] != socket.gethostname():
        return False
    try:
        os.kill(int(found[1]), number)
    except ProcessLookupError:
        return False
    return True


def _try(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
