"""Where else the metrics of a training go, beside metrics.jsonl: `gipo train --log-to NAME`, each an extra.

A tracker is opened by `open_tracker(run, config, step)` of its module and has `log(step, figures)` and `close()`.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

from gipo_cli.errors import SettingError, brief
from gipo_cli.gates import flatten
from gipo_cli.registry import TRACKERS
from gipo_cli.rendering import terminal
from gipo_cli.runs import RunDirectory

PROJECT = "gipo"


class Tracker(Protocol):
    """Takes the figures of a report as they come."""

    def log(self, step: int, figures: dict[str, float]) -> None:
        """Keep the figures of a step, by dotted name."""
        ...

    def close(self) -> None:
        """Write what is left to write."""
        ...


class Reporters:
    """Hands each report to every tracker; one that fails is named and left out, and training goes on."""

    def __init__(self, trackers: dict[str, Tracker]) -> None:
        self.trackers = trackers

    def report(self, metrics: dict[str, Any]) -> None:
        """Hand on one line of metrics.jsonl: its numbers, by dotted name."""
        figures = {
            name: float(value)
            for name, value in flatten(metrics).items()
            if isinstance(value, int | float) and name != "step"
        }
        for name, tracker in list(self.trackers.items()):
            try:
                tracker.log(metrics["step"], figures)
            except Exception as error:  # a library's, or its network's: no reason to lose a training
                self._drop(name, error)

    def close(self) -> None:
        """Close every tracker."""
        for name, tracker in list(self.trackers.items()):
            try:
                tracker.close()
            except Exception as error:
                self._drop(name, error)

    def _drop(self, name: str, error: Exception) -> None:
        del self.trackers[name]
        terminal.note(f"warning: {name} failed and gets no more metrics ({type(error).__name__}: {brief(error)}).")


def require_trackers(names: Sequence[str]) -> dict[str, Any]:
    """What opens each tracker, before any work.

    Raises:
        SettingError: there is none of the name, or its package is not installed.
    """
    found = {}
    for name in dict.fromkeys(names):
        try:
            found[name] = TRACKERS.load(name)
        except ImportError as error:
            raise SettingError(
                f"--log-to {name} needs a package that is not installed ({error}).", f"pip install 'gipo[{name}]'"
            ) from error
    return found


@contextmanager
def reporting(openers: dict[str, Any], run: RunDirectory, config: dict[str, Any]) -> Iterator[Reporters]:
    """Trackers for the length of a training.

    Raises:
        SettingError: one cannot be opened: not logged in, say.
    """
    with ExitStack() as stack:
        reporters = Reporters({})
        stack.callback(reporters.close)
        for name, opener in openers.items():
            try:
                reporters.trackers[name] = opener(run, config)
            except Exception as error:  # whatever a library, or its network, may raise
                raise SettingError(
                    f"--log-to {name} cannot begin ({type(error).__name__}: {brief(error)}).",
                    f"Leave --log-to {name} out: metrics.jsonl has every figure, and `gipo report` draws them.",
                ) from error
        yield reporters
