"""`gipo batch cancel`: every job of a batch saves and stops."""

import signal
import time
from pathlib import Path
from typing import Annotated

import typer

from gipo_cli.errors import RunError

PATIENCE = 120  # seconds that a job may take to save


def batch_cancel(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A batch directory.", show_default=False)],
    json: Annotated[bool, typer.Option("--json", help="Print what was told to stop as one JSON document.")] = False,
) -> None:
    """Stop a batch that runs on this machine: each job saves a checkpoint; `gipo batch JOBS.toml` goes on with it."""
    from gipo_cli.batch.directory import BatchDirectory
    from gipo_cli.batch.jobfile import BATCH_LOCK
    from gipo_cli.locking import holder, tell
    from gipo_cli.rendering import terminal

    batch = BatchDirectory.open(directory)
    # The batch first, so that it starts nothing in the place of what is stopped.
    locks = [batch.path / BATCH_LOCK, *(batch.lock_of(job.name) for job in batch.jobs())]
    held = {lock: who for lock in locks if (who := holder(lock)) is not None}
    elsewhere = []
    if locks[0] in held and tell(locks[0], signal.SIGTERM):
        _wait(locks[:1])
    for lock in locks:
        if holder(lock) is not None and not tell(lock, signal.SIGTERM):
            elsewhere.append(held.get(lock, "another process"))
    _wait([lock for lock in locks if lock in held and held[lock] not in elsewhere])
    if elsewhere:
        raise RunError(
            f"{batch.path} is being written by {elsewhere[0]}, which cannot be told from here.",
            "Cancel it on that machine.",
        )
    stopped = [lock.parent.name for lock in held if lock != locks[0]]
    if json:
        terminal.json_document({"batch": str(batch.path), "stopped": stopped})
    elif held:
        terminal.line(f"Stopped {len(stopped)} running jobs; everything they did is saved.")
    else:
        terminal.line("Nothing runs.")


def _wait(locks: list[Path]) -> None:
    from gipo_cli.locking import holder

    until = time.monotonic() + PATIENCE
    while any(holder(lock) is not None for lock in locks):
        if time.monotonic() > until:
            raise RunError(f"a process has not stopped within {PATIENCE} s.", "Wait, and look with: gipo batch status")
        time.sleep(0.1)
