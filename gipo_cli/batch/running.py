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

Watch = Callable[[Fate | None], None]  # told of each job that ended, and in between of none


def run_jobs(
    batch: BatchDirectory, jobs: list[Listed], executor: Executor, retries: int, stop: Stop, watch: Watch
) -> None:
    """Run what has not finished until all have ended or a signal came; nothing is started after one.

    A job that some process trains already - left behind by a batch that was killed, say - is waited for.

    Args:
        batch: locked by this process.
        jobs: in the order in which they are started.
        executor: that starts them.
        retries: times that an attempt which failed is followed by another.
        stop: the signal.
        watch: shown how far it is.
    """
    waiting = deque(job for job in jobs if not fate_of(batch, job).is_finished)
    running: dict[str, tuple[Listed, int]] = {}  # and where the attempt's words begin in the log
    tried: Counter[str] = Counter()
    told = False
    while running or (waiting and not stop.requested):
        if stop.requested and not told:
            executor.stop(signal.SIGINT if stop.exit_code is ExitCode.INTERRUPTED else signal.SIGTERM)
            told = True
        for name, code in executor.ended():
            job, since = running.pop(name)
            before = batch.state.get(name, Attempts())
            error = "" if code == ExitCode.DONE else last_words(batch, name, since) or _killed(code)
            batch.note(name, Attempts(before.attempts, code, error))
            if code not in FINAL and tried[name] <= retries and not stop.requested:
                waiting.append(job)
            watch(fate_of(batch, job))
        while waiting and len(running) < executor.slots and not stop.requested:
            job = _next_free(batch, waiting, watch)
            if job is None:
                break
            tried[job.name] += 1
            batch.note(job.name, Attempts(batch.state.get(job.name, Attempts()).attempts + 1))
            log = batch.log(job.name)
            running[job.name] = (job, log.stat().st_size if log.exists() else 0)
            executor.start(job)
        watch(None)
        time.sleep(WAIT)


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
