"""Jobs of Slurm, submitted by submitit.

submitit hands a job its function as a pickle in `slurm/` of the batch directory, which the job loads on its node: that
folder is its owner's alone, as the batch directory is, and what others may write to must not be run as a batch. `gipo`
itself reads no pickle: a job leaves its exit code there as text. Every node has to see the batch directory and the
logs under the same paths, and has to have gipo where this machine has it.
"""

import os
import shutil
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import redirect_stderr, suppress
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any

from gipo_cli import durable
from gipo_cli.batch import slurm_queue
from gipo_cli.batch.directory import BatchDirectory, Listed
from gipo_cli.batch.executors import Ended
from gipo_cli.batch.jobfile import SLURM
from gipo_cli.batch.relay import attend
from gipo_cli.batch.slurm_queue import Entry
from gipo_cli.errors import ExitCode, RunError, SettingError, brief

submitit: Any = import_module("submitit")  # the extra

TIME = 60  # minutes that a job may take where the file does not say; submitit's own are 5
SELDOM, OFTEN = 30.0, 1.0  # seconds from look to look at the queue, with nothing new for long and for a moment
WARNINGS = (signal.SIGUSR1, signal.SIGUSR2)  # submitit has Slurm send one of them before the time limit
STOPPED = (ExitCode.INTERRUPTED, ExitCode.TERMINATED, -signal.SIGINT, -signal.SIGTERM)
MOVED = ("BOOT_FAIL", "NODE_FAIL", "PREEMPTED", "TIMEOUT")


class Slurm:
    """A job of Slurm for each attempt, all of them in its queue at once unless `slots` says otherwise.

    When this process dies, the jobs go on; the next batch finds them in the queue and takes them over.
    """

    def __init__(self, batch: BatchDirectory, slots: int | None, settings: Mapping[str, Any]) -> None:
        """Look into the queue.

        Raises:
            SettingError: there is no Slurm on this machine.
            RunError: it does not answer.
        """
        self.slots = slots or sys.maxsize
        self._batch, self._threads = batch, settings.get("cpus_per_task", 1)
        asked = {"time": TIME, **settings}
        self._queue = _Processes() if asked.pop("cluster", "slurm") == "local" else _Queue()
        self._submitter = self._queue.submitter((batch.path / SLURM).absolute(), asked)
        self._running: dict[str, str] = {}  # ids
        self._refused: list[Ended] = []

    def adopt(self, job: Listed) -> bool:
        """Take over a job that is in the queue, under the id that was kept or, if none was in time, by its name."""
        kept = self._file(f"{job.name}.job")
        known = kept.read_text() if kept.exists() else ""
        found = self._queue.left_behind(known, slurm_queue.label_of(self._batch.path, job.name))
        if found is None:
            return False
        if not self._file(f"{found}_submitted.pkl").exists():  # the batch died before it could tell it what to do
            self._queue.cancel([found])
            return False
        self._running[job.name] = found
        return True

    def start(self, job: Listed, seconds: float) -> None:
        """Submit a job; one that Slurm does not take has failed."""
        self._submitter.update_parameters(job_name=slurm_queue.label_of(self._batch.path, job.name))
        try:
            with redirect_stderr(StringIO()):  # submitit prints what sbatch said, which the error has
                submitted = self._submitter.submit(train_on_node, self._batch.path.absolute(), job, self._threads)
        except (submitit.core.utils.UncompletedJobError, submitit.core.utils.FailedSubmissionError) as error:
            code = getattr(error.__cause__, "returncode", 1)  # below 0: a Ctrl-C hit sbatch, too
            self._refused.append(Ended(job.name, min(code, 1), f"Slurm does not take it: {brief(error)}"))
            return
        durable.write(self._file(f"{job.name}.job"), submitted.job_id.encode())
        self._running[job.name] = self._queue.add(submitted)

    def ended(self) -> list[Ended]:
        """What ended, by what the jobs wrote and by the queue."""
        over, self._refused = self._refused, []
        for name, number in self._running.items():
            # The queue is looked at before its word: a job that is gone has left it.
            if (end := self._end_of(name, number, self._queue.entry(number))) is not None:
                over.append(end)
        for end in over:
            self._running.pop(end.name, None)
        return over

    def stop(self) -> None:
        """Cancel every job; one that runs saves in the time that Slurm gives it, and else goes back to a checkpoint."""
        self._queue.cancel(list(self._running.values()))

    def _end_of(self, name: str, number: str, entry: Entry | None) -> Ended | None:
        word = self._file(f"{number}.exit")
        code = int(word.read_text()) if word.exists() else None
        if code is not None and code not in STOPPED:
            return Ended(name, code)
        if entry is None or not entry.has_ended:
            return None  # not yet, or Slurm runs it once more
        if entry.state == "CANCELLED":
            return Ended(name, -signal.SIGTERM)
        if code is not None or entry.state in MOVED:
            cause = f"Slurm stopped its job {number} ({entry.state}) before it got any further"
            return Ended(name, code or -signal.SIGKILL, cause, moved=True)
        return Ended(name, -signal.SIGKILL, f"Slurm ended its job {number} ({entry.state})")

    def _file(self, name: str) -> Path:
        return self._batch.path / SLURM / name


class _Queue:
    """Slurm's own queue, asked seldom: it serves everyone."""

    def __init__(self) -> None:
        for program in ("sbatch", "srun", "squeue", "scancel"):
            if shutil.which(program) is None:
                raise SettingError(
                    f"--executor slurm finds no {program} on this machine.",
                    'Start the batch where jobs are submitted, or try it out here: [slurm] cluster = "local"',
                )
        self._found: dict[str, Entry] | None = slurm_queue.entries()
        self._changed = self._looked = time.monotonic()

    def submitter(self, folder: Path, asked: dict[str, Any]) -> Any:
        """What submits jobs."""
        made = submitit.SlurmExecutor(folder, python=asked.pop("python", None))
        made.update_parameters(**asked)
        return made

    def left_behind(self, known: str, label: str) -> str | None:
        """The id of a job that is not over."""
        found = (self._found or {}).values()
        return next((e.id for e in found if not e.has_ended and (e.id == known or e.label == label)), None)

    def add(self, job: Any) -> str:
        """The id of a job that was submitted; what was seen before says nothing of it."""
        self._found, self._changed = None, time.monotonic()
        return job.job_id

    def entry(self, number: str) -> Entry | None:
        """Where a job stands; none where that is not known at the moment."""
        now = time.monotonic()
        if now - self._looked > min(SELDOM, max(OFTEN, (now - self._changed) / 10)):
            self._looked = now
            with suppress(RunError):  # a busy moment of Slurm's; the next look tells
                self._found = slurm_queue.entries()
        return None if self._found is None else self._found.get(number, Entry(number, slurm_queue.GONE))

    def cancel(self, numbers: list[str]) -> None:
        """Take jobs out of the queue."""
        self._changed = time.monotonic()
        slurm_queue.cancel(numbers)


class _Processes:
    """Submitit's stand-in for a queue: processes of this machine, begun at once."""

    def __init__(self) -> None:
        self._jobs: dict[str, Any] = {}

    def submitter(self, folder: Path, asked: dict[str, Any]) -> Any:
        """What starts processes; of what was asked for it takes the little that means something here."""
        made = submitit.LocalExecutor(folder)
        minutes = asked["time"] if isinstance(asked["time"], int) else TIME
        known = {name: asked[name] for name in ("signal_delay_s", "setup", "gpus_per_node") if name in asked}
        made.update_parameters(timeout_min=minutes, **known)
        return made

    def left_behind(self, known: str, label: str) -> str | None:
        """None: what an earlier batch left behind holds the run's lock, and is waited for by it."""
        return None

    def add(self, job: Any) -> str:
        """The id of a job."""
        self._jobs[job.job_id] = job
        return job.job_id

    def entry(self, number: str) -> Entry:
        """Where a job stands."""
        return Entry(number, "COMPLETED" if self._jobs[number].done() else "RUNNING")

    def cancel(self, numbers: list[str]) -> None:
        """SIGTERM: submitit's own cancel leaves a job one second."""
        for number in numbers:
            if not self._jobs[number].done():
                os.kill(int(number), signal.SIGTERM)


def train_on_node(place: Path, job: Listed, threads: int) -> None:
    """What a job does, on its node; its exit code is its word to the batch, which may not live any more."""
    word = place / SLURM / f"{submitit.JobEnvironment().job_id}.exit"
    word.unlink(missing_ok=True)  # Slurm itself may have put the job into the queue again
    durable.write(word, str(attend(place, job, threads, WARNINGS)).encode())
    for warning in WARNINGS:  # training has heard of it, and submitit's own answer would be to queue the job again
        signal.signal(warning, signal.SIG_IGN)
