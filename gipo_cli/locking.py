"""Locks on directories: held by one process, let go of by the kernel however that process ends."""

import fcntl
import os
import re
import signal
import socket
import time
from pathlib import Path
from typing import IO

PATIENCE = 0.3  # seconds for which a lock may be taken by somebody who only looks whether it is (`holder`)
SETTLING = 0.05  # seconds within which whoever takes a lock has written its name into it


class HeldError(Exception):
    """Another process holds the lock; the text says which, where it is known."""


def hold(path: Path) -> IO[str]:
    """Take a lock and write into it who has it; closing the file lets go.

    Raises:
        HeldError: another process has it.
        OSError: it cannot be written.
    """
    lock = path.open("a+", encoding="utf-8")
    until = time.monotonic() + PATIENCE
    while not _try(lock, fcntl.LOCK_EX):
        if time.monotonic() > until:
            lock.seek(0)
            who = lock.read().strip()
            lock.close()
            raise HeldError(who or "another process")
        time.sleep(PATIENCE / 30)
    lock.truncate(0)
    lock.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    lock.flush()
    return lock


def holder(path: Path) -> str | None:
    """Who holds a lock at this moment; none where nobody does."""
    try:
        with path.open(encoding="utf-8") as lock:
            return None if _try(lock, fcntl.LOCK_SH) else lock.read().strip() or "another process"
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


def _try(lock: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(lock, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
