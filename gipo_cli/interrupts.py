"""Ctrl-C and a polite kill while a library is at work that would swallow or be torn by them."""

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

Handler = signal.Handlers | Callable[[int, FrameType | None], object]
SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def deferred() -> Iterator[None]:
    """Let a SIGINT or SIGTERM take effect at the end of the block; a second SIGINT takes effect at once.

    HDF5 calls Python back from C, where a KeyboardInterrupt is printed and forgotten, and what it was doing left half
    done. Handlers can be set in the main thread only; elsewhere nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    arrived: list[int] = []

    def on_signal(number: int, frame: object) -> None:
        if number == signal.SIGINT and signal.SIGINT in arrived:
            raise KeyboardInterrupt
        arrived.append(number)

    try:
        with handled(SIGNALS, on_signal):
            yield
    finally:
        for number in arrived[:1]:
            signal.raise_signal(number)


@contextmanager
def handled(numbers: Sequence[signal.Signals], handler: Handler) -> Iterator[None]:
    """Have signals handled so for as long as the block runs; in the main thread only, as Python has it."""
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)
