"""Ctrl-C and a polite kill become a flag that the loop looks at, so that it can save before it goes."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from gipo_cli.errors import ExitCode


@dataclass
class Stop:
    """Whether a signal asked to stop, and the exit code it means."""

    requested: bool = False
    exit_code: ExitCode = ExitCode.INTERRUPTED


@contextmanager
def stop_requested() -> Iterator[Stop]:
    """Catch SIGINT and SIGTERM for as long as the block runs; a SIGINT after either interrupts at once.

    Handlers can be set in the main thread only; elsewhere the flag stays down.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def on_signal(number: int, frame: object) -> None:
        if number == signal.SIGINT and stop.requested:
            raise KeyboardInterrupt
        stop.requested = True
        stop.exit_code = ExitCode.INTERRUPTED if number == signal.SIGINT else ExitCode.TERMINATED

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
