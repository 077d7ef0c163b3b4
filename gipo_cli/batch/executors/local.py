"""Processes of this machine."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from typing import Any

from gipo_cli.batch.attempt import begin
from gipo_cli.batch.directory import BatchDirectory, Listed
from gipo_cli.errors import SettingError


class Local:
    """`jobs` processes at a time, which share out the cores that this process may use."""

    def __init__(self, batch: BatchDirectory, jobs: int, deadline: float | None) -> None:
        self.slots = jobs
        self._batch, self._deadline = batch, deadline
        self._threads = max(1, len(os.sched_getaffinity(0)) // jobs)
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, job: Listed) -> None:
        """Begin an attempt at a job, which stops by itself before the deadline."""
        left = None if self._deadline is None else max(1.0, self._deadline - time.monotonic())
        self._running[job.name] = begin(self._batch, job, self._threads, left)

    def ended(self) -> list[tuple[str, int]]:
        """Names and exit codes of what ended."""
        found = [(name, process.poll()) for name, process in self._running.items()]
        over = [(name, code) for name, code in found if code is not None]
        for name, _ in over:
            del self._running[name]
        return over

    def stop(self, number: signal.Signals) -> None:
        """Send every process a signal."""
        for process in self._running.values():
            process.send_signal(number)

    def close(self) -> None:
        """Nothing was taken; a process that still runs ends by itself, and the next batch waits for it."""


def open_executor(
    batch: BatchDirectory, settings: Mapping[str, Any], jobs: int | None, deadline: float | None
) -> Local:
    """One process at a time unless told.

    Raises:
        SettingError: there is a setting, and it has none.
    """
    if settings:
        raise SettingError("the local executor has no settings.")
    return Local(batch, jobs or 1, deadline)
