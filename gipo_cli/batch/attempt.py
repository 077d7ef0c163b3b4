"""One attempt at a job: `gipo train` in a process of its own, begun anew or gone on with."""

import os
import subprocess
import sys
from math import inf

from gipo_cli.batch.directory import BatchDirectory, Listed
from gipo_cli.batch.starts import start_to_take
from gipo_cli.runs import RECORD

STARTING = 2.0  # seconds in which Python starts, and ends
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def command_of(batch: BatchDirectory, job: Listed) -> list[str]:
    """What to type to do the same by hand: the run goes on from its newest checkpoint where it has begun.

    One that has not takes its start from the job that begins alike, once that has one.
    """
    place = batch.run(job.name)
    if (place / RECORD).exists():
        return ["gipo", "train", "--resume", str(place)]
    gates = [part for expression in job.fail_if for part in ("--fail-if", expression)]
    shared = start_to_take(batch, job)
    reuse = [] if shared is None else ["--reuse", str(shared)]
    return ["gipo", "train", "--config", str(batch.config(job.name)), "--out", str(place), *reuse, *gates]


def begin(batch: BatchDirectory, job: Listed, threads: int, seconds: float = inf) -> "subprocess.Popen[bytes]":
    """Start an attempt; what it says on stderr is added to the job's log.

    It is in a session of its own: Ctrl-C reaches the batch alone, which then stops each job once.

    Args:
        batch: where the job lies.
        job: to be trained.
        threads: that training and its libraries may take where the user has not said; no number depends on it.
        seconds: that it may take, from now.
    """
    limit = [] if seconds == inf else ["--max-time", f"{seconds - STARTING:.1f}s"]
    arguments = [*command_of(batch, job)[1:], "--quiet", *limit]
    with batch.log(job.name).open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "gipo_cli", *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log, start_new_session=True,
            env={**dict.fromkeys(THREADS, str(threads)), **os.environ},
        )  # fmt: skip


def last_words(batch: BatchDirectory, name: str, since: int) -> str:
    """The last error in a job's log from byte `since` on; where there is none, the last line."""
    try:
        with batch.log(name).open("rb") as log:
            log.seek(since)
            lines = log.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    said = [line.removeprefix("gipo: ") for line in lines if line.startswith("gipo: ")]
    return (said or [line for line in lines if line.strip()] or [""])[-1][:500]
