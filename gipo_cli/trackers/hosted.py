"""What Weights & Biases and trackio have in common, since one took the other's interface."""

from collections.abc import Callable
from hashlib import sha256
from typing import Any

from gipo_cli.runs import RunDirectory


class Hosted:
    """A run of theirs."""

    def __init__(self, log: Callable[..., Any], finish: Callable[[], Any]) -> None:
        self._log, self._finish = log, finish

    def log(self, step: int, figures: dict[str, float]) -> None:
        """Log the figures of a step."""
        self._log(figures, step=step)

    def close(self) -> None:
        """End the run."""
        self._finish()


def identity(run: RunDirectory) -> str:
    """The same for a run whenever it is resumed, another for every other run: of its place and when it began."""
    return sha256(f"{run.path.resolve()} {run.record().get('started')}".encode()).hexdigest()[:12]
