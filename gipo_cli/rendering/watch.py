"""How long work shows how far it is."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gipo_cli.rendering import terminal


class Watch:
    """Shows phases: a bar on a terminal, one line per report elsewhere, nothing when quiet."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.began = time.monotonic()

    @contextmanager
    def phase(self, name: str, total: int) -> Iterator[Callable[..., None]]:
        """Show one phase of `total` updates; the function yielded takes updates done and figures to show."""
        if self.quiet:
            yield lambda n=1, **figures: None
        elif terminal.is_terminal(sys.stderr):
            with terminal.progress(name, total) as advance:
                yield advance
        else:
            yield _Lines(name, total).advance


class _Lines:
    """Progress as lines: one for each report, and one each quarter of a phase that reports nothing."""

    def __init__(self, name: str, total: int) -> None:
        self.name, self.total, self.done = name, total, 0
        self.began = time.monotonic()

    def advance(self, n: int = 1, **figures: float) -> None:
        """Count updates; say so when there are figures, or at a quarter of the way."""
        before, self.done = self.done, self.done + n
        quarter = max(1, self.total // 4)
        if not figures and (self.name == "policy" or before // quarter == self.done // quarter):
            return
        rate = self.done / max(time.monotonic() - self.began, 1e-9)
        shown = "".join(f"  {name} {value:.4g}" for name, value in figures.items())
        terminal.note(
            f"{self.name} {self.done}/{self.total}{shown}  {rate:.0f}/s  {(self.total - self.done) / rate:.0f} s left"
        )
