"""The batch directory: a run directory for each job, and beside them what the jobs are and how they fared."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from gipo_cli import durable
from gipo_cli.batch.jobfile import BATCH_LOCK, CONFIGS, COPY, JOBS, LOGS, STATE, Job, JobFile
from gipo_cli.config import from_values
from gipo_cli.errors import RunError, SettingError, brief
from gipo_cli.locking import HeldError, hold, release
from gipo_cli.runs import LOCK, RECORD, RunDirectory, toml_text

FORMAT = 1
_AGAIN = "Move it away and run the batch again with its job file; the runs are kept."


@dataclass
class Attempts:
    """How a job fared: how often it was started, how the last one ended, and what it said."""

    attempts: int = 0
    exit_code: int | None = None
    error: str = ""


@dataclass(frozen=True)
class Listed:
    """A job of a batch that exists, as its directory remembers it."""

    name: str
    given: dict[str, Any]
    fail_if: tuple[str, ...]
    leader: str = ""  # another job, from which it takes its start; known while the batch runs


class BatchDirectory:
    """One batch's directory; use it as a context manager to run jobs, so that no second process does."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None
        self.state: dict[str, Attempts] = {}

    @classmethod
    def open(cls, path: Path) -> "BatchDirectory":
        """Open a batch that exists.

        Raises:
            RunError: the place is missing or no batch.
        """
        if not (path / JOBS).is_file():
            what = f"is not a batch: it has no {JOBS}" if path.exists() else "does not exist"
            raise RunError(f"{path} {what}.", "Batches are made by `gipo batch JOBS.toml --out DIR`.")
        found = cls(path)
        found.state = found._read_state()
        return found

    def run(self, name: str) -> Path:
        """Where a job's run lies."""
        return self.path / name

    def config(self, name: str) -> Path:
        """The settings of a job, as `gipo train --config` takes them."""
        return self.path / CONFIGS / f"{name}.toml"

    def log(self, name: str) -> Path:
        """What a job's attempts said on stderr, one after the other."""
        return self.path / LOGS / f"{name}.log"

    def __enter__(self) -> "BatchDirectory":
        """Lock the batch for this process.

        Raises:
            RunError: another process holds it, or it cannot be written.
        """
        try:
            durable.make_directory(self.path)
            self._lock = hold(self.path / BATCH_LOCK)
        except HeldError as error:
            raise RunError(
                f"{self.path} is being run by {error}.", f"Wait for it, or: gipo batch cancel {self.path}"
            ) from error
        except durable.WriteFailed as error:
            raise self._refusal(error) from error
        self.state = self._read_state()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Let go of the batch.

        Raises:
            RunError: it could not be written.
        """
        if self._lock is not None:
            release(self._lock)
            self._lock = None
        if isinstance(error, durable.WriteFailed):
            raise self._refusal(error) from error

    def _refusal(self, error: OSError) -> RunError:
        return durable.refusal(self.path, error, "give the same command again.")

    def keep(self, file: JobFile) -> None:
        """Write what the jobs are: their list, the file, and the settings of each.

        Jobs of an earlier file that this one does not have stay where they are.
        """
        # The list comes first: it says that the directory is a batch's.
        listed = [{"name": job.name, "given": job.given, "fail_if": list(job.fail_if)} for job in file.jobs]
        document = {"format": FORMAT, "jobs": listed}
        durable.write(self.path / JOBS, (json.dumps(document, indent=1, default=str) + "\n").encode())
        durable.write(self.path / COPY, file.text.encode())
        for directory in (CONFIGS, LOGS):
            durable.make_directory(self.path / directory)
        for job in file.jobs:
            durable.write(self.config(job.name), toml_text(job.config.to_dict()).encode())

    def refuse_occupied(self, jobs: list[Job]) -> None:
        """Refuse a place that holds something else, and a job that has begun under its name with other settings.

        Raises:
            SettingError: says what is there, or which setting of which job.
            RunError: the list of jobs that is there is not a batch's.
        """
        if (self.path / JOBS).exists():
            self._read(JOBS)
        elif self.path.exists() and (
            not self.path.is_dir() or {entry.name for entry in self.path.iterdir()} - {BATCH_LOCK}
        ):
            what = "is not empty, and no batch" if self.path.is_dir() else "is a file"
            raise SettingError(f"the batch directory {self.path} {what}.", "Choose another --out.")
        for job in jobs:
            place = self.run(job.name)
            if not (place / RECORD).exists():
                RunDirectory.refuse_occupied(place)
                continue
            # What an older version did not know of stands at its default.
            before = from_values(RunDirectory(place).read_config(), str(place / "config.toml")).to_dict()
            for key, now in job.config.to_dict().items():
                if before[key] != now:
                    raise SettingError(
                        f"{place} was begun with {key} {before[key]!r}, and the file now says {now!r}.",
                        "Give the job another name, or the batch another --out; runs are never overwritten.",
                    )

    def jobs(self) -> list[Listed]:
        """The jobs, in the order of their file.

        Raises:
            RunError: the list is damaged, or of another version.
        """
        document = self._read(JOBS)
        try:
            return [Listed(job["name"], job["given"], tuple(job["fail_if"])) for job in document["jobs"]]
        except (KeyError, TypeError) as error:
            raise RunError(f"{self.path / JOBS} is damaged ({brief(error)}).", _AGAIN) from error

    def record(self, name: str) -> dict[str, Any] | None:
        """A job's run.json; none where it has not come that far."""
        place = self.run(name)
        return RunDirectory(place).record() if (place / RECORD).is_file() else None

    def note(self, name: str, attempts: Attempts) -> None:
        """Keep how a job fares."""
        self.state[name] = attempts
        document = {"format": FORMAT, "jobs": {name: asdict(found) for name, found in self.state.items()}}
        durable.write(self.path / STATE, (json.dumps(document, indent=1) + "\n").encode())

    def attempts(self, name: str) -> Attempts:
        """How a job has fared so far."""
        return self.state.get(name, Attempts())

    def lock_of(self, name: str) -> Path:
        """The lock that whoever trains a job holds."""
        return self.run(name) / LOCK

    def _read_state(self) -> dict[str, Attempts]:
        if not (self.path / STATE).exists():
            return {}
        try:
            return {name: Attempts(**found) for name, found in self._read(STATE)["jobs"].items()}
        except (KeyError, TypeError, AttributeError) as error:
            raise RunError(f"{self.path / STATE} is damaged ({brief(error)}).", _AGAIN) from error

    def _read(self, name: str) -> dict[str, Any]:
        try:
            document = json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise RunError(f"{self.path / name} cannot be read ({brief(error)}).", _AGAIN) from error
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise RunError(f"{self.path / name} is not of format {FORMAT}, which this version reads.", _AGAIN)
        return document
