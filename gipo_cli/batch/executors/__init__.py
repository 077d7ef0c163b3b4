"""Who runs the attempts of a batch, one file each; the bytes of the runs are the same whoever does."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from gipo_cli.batch.directory import BatchDirectory, Listed
from gipo_cli.errors import SettingError
from gipo_cli.registry import EXECUTORS


@dataclass(frozen=True)
class Ended:
    """How an attempt ended."""

    name: str
    code: int  # negative: killed by that signal
    cause: str = ""  # what the executor knows of it and the job's log does not
    moved: bool = False  # its machine was taken from it, as by a time limit: a failure only if it got no further


class Executor(Protocol):
    """Starts attempts, and says how they ended."""

    slots: int  # attempts at a time

    def adopt(self, job: Listed) -> bool:
        """Take over an attempt that an earlier batch started and that is not over; false where there is none."""
        ...

    def start(self, job: Listed, seconds: float) -> None:
        """Begin an attempt at a job.

        Args:
            job: to be trained.
            seconds: after which it has to have saved and gone; what waits in a cluster's queue is stopped by then.
        """
        ...

    def ended(self) -> list[Ended]:
        """The attempts that ended since it was last asked."""
        ...

    def stop(self) -> None:
        """Ask every attempt to save and go; `ended` says when it did."""
        ...


def require_executor(name: str) -> Callable[[BatchDirectory, int | None, Mapping[str, Any]], Executor]:
    """What makes an executor of a batch, attempts at a time (none: as it sees fit) and its table of the job file.

    Raises:
        SettingError: there is none of the name, or its package is not installed.
    """
    try:
        return EXECUTORS.load(name)
    except ImportError as error:
        raise SettingError(
            f"--executor {name} needs a package that is not installed ({error}).", f"pip install 'gipo[{name}]'"
        ) from error
