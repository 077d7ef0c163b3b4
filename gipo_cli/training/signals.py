"""Ctrl-C, a polite kill and the end of the time become a flag that the loop looks at, so that it saves and goes."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from gipo_cli.errors import ExitCode, InterruptedRun, OutOfTime
from gipo_cli.interrupts import SIGNALS, handled
from gipo_cli.training.time_limit import TimeLimit


@dataclass
class Stop:
    """Whether a signal or the time limit asks to stop."""

    limit: TimeLimit = field(default_factory=TimeLimit)
    signalled: ExitCode | None = None  # the exit code that the signal means

    @property
    def requested(self) -> bool:
        """Whether to stop where going on would be longer than the limit, however little longer."""
        return self.signalled is not None or self.limit.left < 0

    def interruption(self, where: str, run: Path) -> InterruptedRun:
        """What ends the command: a signal's code, or that of --max-time."""
        hint = f"Continue with: gipo train --resume {run}"
        if self.signalled is None and self.limit.given:
            return OutOfTime(f"--max-time {self.limit.given}: stopped {where}", hint, self.limit.exit_code)
        # Without one of its own, another rank's.
        return InterruptedRun(f"interrupted {where}", hint, self.signalled or ExitCode.INTERRUPTED)


@contextmanager
def stop_requested(limit: TimeLimit | None = None) -> Iterator[Stop]:
    """Catch SIGINT and SIGTERM for as long as the block runs; a SIGINT after either interrupts at once.

    Handlers can be set in the main thread only; elsewhere no signal is seen.
    """
    stop = Stop(limit or TimeLimit())
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def on_signal(number: int, frame: object) -> None:
        if number == signal.SIGINT and stop.signalled is not None:
            raise KeyboardInterrupt
        stop.signalled = ExitCode.INTERRUPTED if number == signal.SIGINT else ExitCode.TERMINATED

    with handled(SIGNALS, on_signal):
        yield stop
