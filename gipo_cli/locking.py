"""Locks on directories: held by one process, let go of by the kernel however that process ends."""

import fcntl
import os
import re
import signal
import socket
from pathlib import Path
from typing import IO


class HeldError(Exception):
    """Another process holds the lock; the text says which, where it is known."""


def hold(path: Path) -> IO[str]:
    """Take a lock and write into it who has it; closing the file lets go.

    Raises:
        HeldError: another process has it.
        OSError: it cannot be written.
    """
    lock = path.open("a+", encoding="utf-8")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.seek(0)
        who = lock.read().strip()
        lock.close()
        raise HeldError(who or "another process") from error
    lock.truncate(0)
    lock.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    lock.flush()
    return lock


def holder(path: Path) -> str | None:
    """Who holds a lock at this moment; none where nobody does."""
    try:
        with path.open(encoding="utf-8") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return lock.read().strip() or "another process"
    except OSError:
        return None
    return None


def tell(path: Path, number: signal.Signals) -> bool:
    """Send a signal to the process that holds a lock; false where nobody does, or one on another machine."""
    found = re.fullmatch(r"process (\d+) on (.*)", holder(path) or "")
    if found is None or found[2] != socket.gethostname():
        return False
    try:
        os.kill(int(found[1]), number)
    except ProcessLookupError:
        return False
    return True
