"""The batch: jobs that have not ended are started, watched, tried again, and stopped together."""

import signal
import time
from collections import Counter, deque
from collections.abc import Callable

from gipo_cli.batch.attempt import last_words
from gipo_cli.batch.directory import Attempts, BatchDirectory, Listed
from gipo_cli.batch.executors import Executor
from gipo_cli.batch.fates import Fate, fate_of
from gipo_cli.errors import ExitCode
from gipo_cli.locking import holder
from gipo_cli.training.signals import Stop

WAIT = 0.1  # seconds from look to look
# Trying again gives the same: a setting is wrong, a gate does not hold, numbers went astray from the same bytes.
FINAL = (ExitCode.DONE, ExitCode.USAGE, ExitCode.GATE, ExitCode.DIVERGED)
STOPPED = (ExitCode.INTERRUPTED, ExitCode.TERMINATED, -signal.SIGINT, -signal.SIGTERM)  # that is no failure of a job's

Watch = Callable[[Fate | None], None]  # told of each job that ended, and in between of none


def run_jobs(
    batch: BatchDirectory, jobs: list[Listed], executor: Executor, retries: int, stop: Stop, watch: Watch
) -> None:
    """Run what has not finished until all have ended or a signal came; nothing is started after one.

    A job that some process trains already - left behind by a batch that was killed, say - is waited for.

    Args:
        batch: locked by this process.
        jobs: in the order in which they are started.
        executor: that starts them; whatever ends this function early, it asks what runs to save and go.
        retries: times that an attempt which failed is followed by another.
        stop: the signal.
        watch: shown how far it is.
    """
    waiting = deque(job for job in jobs if not fate_of(batch, job).is_finished)
    running: dict[str, tuple[Listed, int]] = {}  # and where the attempt's words begin in the log
    tried: Counter[str] = Counter()
    told = False
    try:
        while running or (waiting and not stop.requested):
            if stop.requested and not told:
                executor.stop()
                told = True
            for name, code in executor.ended():
                job, since = running.pop(name)
                _note_end(batch, job, code, since)
                if code not in FINAL and tried[name] <= retries:
                    waiting.append(job)
                watch(fate_of(batch, job))
            while len(running) < executor.slots and not stop.requested and (job := _next_free(batch, waiting, watch)):
                tried[job.name] += 1
                running[job.name] = (job, _note_start(batch, job))
                executor.start(job)
            watch(None)
            time.sleep(WAIT)
    except BaseException:
        executor.stop()
        raise


def _note_start(batch: BatchDirectory, job: Listed) -> int:
    """One attempt more; the length of the log as it is."""
    batch.note(job.name, Attempts(batch.attempts(job.name).attempts + 1))
    log = batch.log(job.name)
    return log.stat().st_size if log.exists() else 0


def _note_end(batch: BatchDirectory, job: Listed, code: int, since: int) -> None:
    """How an attempt ended; one that was stopped has neither failed nor ended."""
    attempts = batch.attempts(job.name).attempts
    if code in STOPPED:
        batch.note(job.name, Attempts(attempts))
    else:
        error = "" if code == ExitCode.DONE else last_words(batch, job.name, since) or _killed(code)
        batch.note(job.name, Attempts(attempts, code, error))


def _next_free(batch: BatchDirectory, waiting: deque[Listed], watch: Watch) -> Listed | None:
    """The first job that nobody trains and that has not been finished meanwhile; none where all are being trained."""
    for _ in range(len(waiting)):
        job = waiting.popleft()
        if holder(batch.lock_of(job.name)) is not None:
            waiting.append(job)
        elif (fate := fate_of(batch, job)).is_finished:
            watch(fate)
        else:
            return job
    return None


def _killed(code: int) -> str:
    if code >= 0:
        return f"it ended with exit code {code} and said nothing"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
