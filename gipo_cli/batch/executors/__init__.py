"""Who runs the attempts of a batch, one file each; the bytes of the runs are the same whoever does."""

from typing import Protocol

from gipo_cli.batch.directory import Listed


class Executor(Protocol):
    """Starts attempts, and says how they ended."""

    slots: int  # attempts at a time

    def start(self, job: Listed) -> None:
        """Begin an attempt at a job."""
        ...

    def ended(self) -> list[tuple[str, int]]:
        """Names and exit codes of the attempts that ended since it was last asked; negative: killed by that signal."""
        ...

    def stop(self) -> None:
        """Ask every attempt to save and go; `ended` says when it did."""
        ...
