"""`gipo batch cancel`: every job of a batch saves and stops."""

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from gipo_cli.errors import RunError

PATIENCE = 120  # seconds that a job may take to save


def batch_cancel(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A batch directory.", show_default=False)],
    json: Annotated[bool, typer.Option("--json", help="Print what was told to stop as one JSON document.")] = False,
) -> None:
    """Stop a batch of this machine, and its jobs in Slurm: each saves a checkpoint; `gipo batch JOBS.toml` goes on."""
    from gipo_cli.batch import slurm_queue
    from gipo_cli.batch.directory import BatchDirectory
    from gipo_cli.batch.jobfile import BATCH_LOCK, SLURM
    from gipo_cli.locking import holder, tell
    from gipo_cli.rendering import terminal

    batch = BatchDirectory.open(directory)
    # The batch first, so that it starts nothing in the place of what is stopped.
    locks = [batch.path / BATCH_LOCK, *(batch.lock_of(job.name) for job in batch.jobs())]
    held = {lock: who for lock in locks if (who := holder(lock)) is not None}
    elsewhere = []
    if locks[0] in held and tell(locks[0], signal.SIGTERM):
        _wait(lambda: holder(locks[0]) is None)
    queued = slurm_queue.left(batch.path) if (batch.path / SLURM).is_dir() and holder(locks[0]) is None else {}
    slurm_queue.cancel(list(queued))
    _wait(lambda: not queued or not queued.keys() & slurm_queue.left(batch.path).keys(), every=1)
    for lock in locks:
        if holder(lock) is not None and not tell(lock, signal.SIGTERM):
            elsewhere.append(held.get(lock, "another process"))
    told = [lock for lock in locks if lock in held and held[lock] not in elsewhere]
    _wait(lambda: all(holder(lock) is None for lock in told))
    if elsewhere:
        raise RunError(
            f"{batch.path} is being written by {elsewhere[0]}, which cannot be told from here.",
            "Cancel it on that machine.",
        )
    running = [lock.parent.name for lock in held if lock != locks[0]]
    stopped = list(dict.fromkeys([*running, *queued.values()]))
    if json:
        terminal.json_document({"batch": str(batch.path), "stopped": stopped})
    elif held or queued:
        terminal.line(f"Stopped {len(stopped)} running jobs; everything they did is saved.")
    else:
        terminal.line("Nothing runs.")


def _wait(is_over: Callable[[], bool], every: float = 0.1) -> None:
    until = time.monotonic() + PATIENCE
    while not is_over():
        if time.monotonic() > until:
            raise RunError(f"a process has not stopped within {PATIENCE} s.", "Wait, and look with: gipo batch status")
        time.sleep(every)
