"""Processes of this machine."""

import os
import subprocess

from gipo_cli.batch.attempt import begin
from gipo_cli.batch.directory import BatchDirectory, Listed


class Local:
    """`jobs` processes at a time, which share out the cores that this process may use."""

    def __init__(self, batch: BatchDirectory, jobs: int) -> None:
        self.slots = jobs
        self._batch = batch
        self._threads = max(1, len(os.sched_getaffinity(0)) // jobs)
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, job: Listed) -> None:
        """Begin an attempt at a job."""
        self._running[job.name] = begin(self._batch, job, self._threads)

    def ended(self) -> list[tuple[str, int]]:
        """Names and exit codes of what ended."""
        found = [(name, process.poll()) for name, process in self._running.items()]
        over = [(name, code) for name, code in found if code is not None]
        for name, _ in over:
            del self._running[name]
        return over

    def stop(self) -> None:
        """SIGTERM: a SIGINT is lost on a process that starts up where a shell had it ignored."""
        for process in self._running.values():
            process.terminate()
