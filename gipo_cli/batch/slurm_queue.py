"""Slurm's queue: which jobs of a batch are in it, and how those that left it a moment ago ended.

squeue is asked and not sacct, which many a cluster does not have, and which learns of an end minutes later.
"""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gipo_cli.errors import RunError, brief

GONE = "no longer known"  # Slurm forgets a job some minutes after its end
ENDED = (
    "BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "TIMEOUT",
    GONE,
)  # fmt: skip
LONGEST = 60  # seconds that an answer may take


@dataclass(frozen=True)
class Entry:
    """A job of Slurm's."""

    id: str
    state: str
    label: str = ""

    @property
    def has_ended(self) -> bool:
        """Whether it is over; one that Slurm puts into the queue again has not."""
        return self.state in ENDED


def label_of(batch: Path, name: str) -> str:
    """What Slurm calls a job: no other batch of the user has one of that name."""
    return f"gipo-{hashlib.sha256(str(batch.absolute()).encode()).hexdigest()[:8]}-{name}"


def entries() -> dict[str, Entry]:
    """The user's jobs by their ids, with those that ended within the last minutes.

    Raises:
        RunError: Slurm does not answer.
    """
    command = ["squeue", "--noheader", "--states=all", f"--user={os.getuid()}", "--format=%i|%T|%j"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=LONGEST).stdout
    except (OSError, subprocess.SubprocessError) as error:
        reason = (getattr(error, "stderr", None) or str(error)).strip()
        raise RunError(
            f"Slurm does not say what is in its queue ({brief(Exception(reason))}).", "Try: squeue"
        ) from error
    found = [Entry(*line.strip().split("|", 2)) for line in said.splitlines() if line.count("|") >= 2]
    return {entry.id: entry for entry in found}


def left(batch: Path) -> dict[str, str]:
    """The jobs of a batch that are in the queue, waiting or running: id -> name; none where there is no Slurm.

    Raises:
        RunError: Slurm does not answer.
    """
    found = entries().values() if shutil.which("squeue") else ()
    prefix = label_of(batch, "")
    return {e.id: e.label.removeprefix(prefix) for e in found if e.label.startswith(prefix) and not e.has_ended}


def cancel(ids: Sequence[str]) -> None:
    """Take jobs out of the queue; those that run get SIGTERM, and SIGKILL after Slurm's KillWait (30 s as a rule)."""
    if ids:
        subprocess.run(["scancel", *ids], capture_output=True, check=False)
