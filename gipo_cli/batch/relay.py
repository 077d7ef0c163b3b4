"""An attempt under a process that a cluster started: whatever asks that process to go has training save and go."""

import signal
import time
from collections.abc import Sequence
from pathlib import Path

from gipo_cli.batch.attempt import begin
from gipo_cli.batch.directory import BatchDirectory, Listed
from gipo_cli.interrupts import handled

WAIT = 0.1  # seconds from look to look; a wait without end would not be woken by Ray, whose Ctrl-C is no signal


def attend(place: Path, job: Listed, threads: int, warnings: Sequence[signal.Signals] = ()) -> int:
    """Train a job until it ends, in the main thread of this process.

    Args:
        place: the batch directory, under a name that holds on this machine.
        job: to be trained.
        threads: that libraries may take.
        warnings: signals by which the cluster says that time is nearly up, beside SIGTERM and SIGINT.

    Returns:
        The exit code of `gipo train`; negative: killed by that signal.
    """
    told: list[int] = []
    child = None

    def pass_on(number: int, frame: object) -> None:
        told.append(number)
        if child is not None:
            child.terminate()

    with handled((signal.SIGTERM, signal.SIGINT), pass_on):
        # A cluster may warn every process of a job, and training, which does not know the warning, would die of it.
        with handled(warnings, signal.SIG_IGN):
            child = begin(BatchDirectory(place), job, threads)
        with handled(warnings, pass_on):
            if told:
                child.terminate()
            while (code := child.poll()) is None:
                time.sleep(WAIT)
    return code
