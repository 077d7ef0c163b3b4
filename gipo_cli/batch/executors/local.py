"""Processes of this machine."""

import os
import subprocess
from collections.abc import Mapping
from typing import Any

from gipo_cli.batch.attempt import begin
from gipo_cli.batch.directory import BatchDirectory, Listed
from gipo_cli.batch.executors import Ended


class Local:
    """`slots` processes at a time, one unless said otherwise, which share out the cores that this process may use."""

    def __init__(self, batch: BatchDirectory, slots: int | None, settings: Mapping[str, Any]) -> None:
        self.slots = slots or 1
        self._batch = batch
        self._threads = max(1, len(os.sched_getaffinity(0)) // self.slots)
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def adopt(self, job: Listed) -> bool:
        """Never: a process that an earlier batch left behind holds the run's lock, and is waited for by it."""
        return False

    def start(self, job: Listed, seconds: float) -> None:
        """Begin an attempt at a job, which ends by itself in time."""
        self._running[job.name] = begin(self._batch, job, self._threads, seconds)

    def ended(self) -> list[Ended]:
        """What ended."""
        found = [(name, process.poll()) for name, process in self._running.items()]
        over = [Ended(name, code) for name, code in found if code is not None]
        for end in over:
            del self._running[end.name]
        return over

    def stop(self) -> None:
        """SIGTERM: a SIGINT is lost on a process that starts up where a shell had it ignored."""
        for process in self._running.values():
            process.terminate()
