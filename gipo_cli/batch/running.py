"""The batch: jobs that have not ended are started, watched, tried again, and stopped together."""

import signal
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

from gipo_cli.batch.attempt import last_words
from gipo_cli.batch.directory import Attempts, BatchDirectory, Listed
from gipo_cli.batch.executors import Ended, Executor
from gipo_cli.batch.fates import Fate, fate_of
from gipo_cli.batch.starts import waits_for_start
from gipo_cli.checkpoint_files import LATEST
from gipo_cli.errors import ExitCode
from gipo_cli.locking import holder
from gipo_cli.training.signals import Stop

WAIT = 0.1  # seconds from look to look
LEAST = 5.0  # seconds that an attempt needs to get anywhere
# Trying again gives the same: a setting is wrong, a gate does not hold, numbers went astray from the same bytes.
FINAL = (ExitCode.DONE, ExitCode.USAGE, ExitCode.GATE, ExitCode.DIVERGED)
STOPPED = (ExitCode.INTERRUPTED, ExitCode.TERMINATED, -signal.SIGINT, -signal.SIGTERM)  # that is no failure of a job's

Watch = Callable[[Fate | None], None]  # told of each job that ended, and in between of none


@dataclass(frozen=True)
class Begun:
    """An attempt that runs, and where things stood when it began."""

    job: Listed
    said: int  # bytes of the job's log
    newest: str  # its newest checkpoint


def run_jobs(
    batch: BatchDirectory, jobs: list[Listed], executor: Executor, retries: int, stop: Stop, watch: Watch
) -> None:
    """Run what has not finished until all have ended, a signal came or the time is over; nothing is started then.

    A job that some process trains already - left behind by a batch that was killed, say - is waited for, or taken over
    where the executor can; so is the job that computes the start of another. An attempt whose machine was taken from it
    is followed by another, which is no retry, as long as each gets further than the one before.

    Args:
        batch: locked by this process.
        jobs: in the order in which they are started.
        executor: that starts them; whatever ends this function early, it asks what runs to save and go.
        retries: times that an attempt which failed is followed by another.
        stop: the signal, and the time that all of it may take.
        watch: shown how far it is.
    """
    unfinished = [job for job in jobs if not fate_of(batch, job).is_finished]
    running = {job.name: _begun(batch, job) for job in unfinished if executor.adopt(job)}
    waiting = deque(job for job in unfinished if job.name not in running)
    tried: Counter[str] = Counter(list(running))
    told = False
    try:
        while running or (waiting and _may_start(stop)):
            if stop.requested and not told:
                executor.stop()
                told = True
            for end in executor.ended():
                begun = running.pop(end.name)
                excused = _is_excused(batch, begun, end, stop)
                _note_end(batch, begun, end, excused)
                tried[end.name] -= excused and end.moved
                if end.code not in FINAL and tried[end.name] <= retries:
                    waiting.append(begun.job)
                watch(fate_of(batch, begun.job))
            while (
                len(running) < executor.slots
                and _may_start(stop)
                and (job := _next_free(batch, waiting, {*running}, watch))
            ):
                tried[job.name] += 1
                running[job.name] = _begun(batch, job)
                batch.note(job.name, Attempts(batch.attempts(job.name).attempts + 1))
                executor.start(job, stop.limit.left)
            watch(None)
            time.sleep(WAIT)
    except BaseException:
        executor.stop()
        raise


def _may_start(stop: Stop) -> bool:
    return not stop.requested and stop.limit.left > LEAST


def _begun(batch: BatchDirectory, job: Listed) -> Begun:
    log = batch.log(job.name)
    return Begun(job, log.stat().st_size if log.exists() else 0, _newest(batch, job))


def _newest(batch: BatchDirectory, job: Listed) -> str:
    """The name of a job's newest checkpoint; nothing where it has none."""
    place = batch.run(job.name) / LATEST
    return place.read_text() if place.exists() else ""


def _is_excused(batch: BatchDirectory, begun: Begun, end: Ended, stop: Stop) -> bool:
    """Whether an attempt was stopped, and has neither failed nor ended."""
    if end.moved:
        return stop.requested or _newest(batch, begun.job) != begun.newest
    return end.code in STOPPED


def _note_end(batch: BatchDirectory, begun: Begun, end: Ended, excused: bool) -> None:
    """How an attempt ended."""
    name, attempts = begun.job.name, batch.attempts(begun.job.name).attempts
    if excused or end.code == ExitCode.DONE:
        batch.note(name, Attempts(attempts, None if excused else end.code))
    else:
        words = end.cause or last_words(batch, name, begun.said) or _killed(end.code)
        batch.note(name, Attempts(attempts, end.code, words))


def _next_free(batch: BatchDirectory, waiting: deque[Listed], running: set[str], watch: Watch) -> Listed | None:
    """The first job that nobody trains, that has not been finished meanwhile, and whose start nobody is to compute."""
    unended = running | {job.name for job in waiting}
    for _ in range(len(waiting)):
        job = waiting.popleft()
        if holder(batch.lock_of(job.name)) is not None or waits_for_start(batch, job, unended):
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
