"""Jobs that begin alike: one of them computes start and advantages, the others take them over, with the same bytes."""

from collections.abc import Sequence
from pathlib import Path

from gipo_cli import checkpoint_files
from gipo_cli.batch.directory import BatchDirectory, Listed
from gipo_cli.batch.jobfile import Job
from gipo_cli.runs import RECORD


def listed(jobs: Sequence[Job]) -> list[Listed]:
    """The jobs in order, each with the first one of the file that begins as it does, if that is not itself."""
    from gipo_cli.training.reuse import start_of  # loads torch, which reading a batch does not need

    first: dict[str, str] = {}
    leaders = [first.setdefault(start_of(job.config), job.name) for job in jobs]
    return [
        Listed(job.name, job.given, job.fail_if, leader if leader != job.name else "")
        for job, leader in zip(jobs, leaders, strict=True)
    ]


def start_to_take(batch: BatchDirectory, job: Listed) -> Path | None:
    """The run whose start a job that has not begun takes over, where it is there."""
    if not job.leader or _has_begun(batch, job.name):
        return None
    return batch.run(job.leader) if checkpoint_files.is_whole(_start(batch, job.leader)) else None


def waits_for_start(batch: BatchDirectory, job: Listed, unended: set[str]) -> bool:
    """Whether a job had better wait: another is to compute its start, or does.

    Args:
        batch: of both.
        job: that could begin.
        unended: names of the jobs that run or will.
    """
    if job.leader not in unended or _has_begun(batch, job.name):
        return False
    return not _start(batch, job.leader).exists()


def _start(batch: BatchDirectory, name: str) -> Path:
    return checkpoint_files.place_of(batch.run(name), 0)


def _has_begun(batch: BatchDirectory, name: str) -> bool:
    return (batch.run(name) / RECORD).exists()
