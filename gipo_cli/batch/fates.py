"""What became of a job, by what lies in its run directory: the same whoever asks, and however often it was killed."""

from dataclasses import dataclass, field
from typing import Any

from gipo_cli.batch.directory import Attempts, BatchDirectory, Listed
from gipo_cli.errors import GipoError, RunError
from gipo_cli.gates import judge, parse_gates
from gipo_cli.locking import holder
from gipo_cli.runs import RunDirectory

DONE = ("finished", "gate failed")


@dataclass(frozen=True)
class Fate:
    """A job and where it stands: waiting, running, finished, gate failed, interrupted, failed or diverged."""

    job: Listed
    status: str
    attempts: int
    step: int = 0
    error: str = ""
    figures: dict[str, Any] = field(default_factory=dict)
    gates: list[dict[str, Any]] = field(default_factory=list)

    @property
    def is_finished(self) -> bool:
        """Whether training came to its end, and there is nothing left to do."""
        return self.status in DONE

    def document(self) -> dict[str, Any]:
        """The job as JSON has it."""
        return {
            "job": self.job.name, "status": self.status, "given": self.job.given, "step": self.step,
            **self.figures, "gates": self.gates, "attempts": self.attempts, "error": self.error or None,
        }  # fmt: skip


def fate_of(batch: BatchDirectory, job: Listed) -> Fate:
    """Look at a job's directory, and say where it stands."""
    tried = batch.attempts(job.name)
    try:
        record = batch.record(job.name)
        if record is not None and record.get("status") == "finished":
            return _finished(job, record, tried)
        if holder(batch.lock_of(job.name)) is not None:
            return Fate(job, "running", tried.attempts, _step(batch, job.name))
    except RunError as error:
        return Fate(job, "failed", tried.attempts, error=error.message)
    if record is None:
        failed = tried.exit_code not in (None, 0)
        return Fate(job, "failed" if failed else "waiting", tried.attempts, error=tried.error)
    said = record["status"] if record.get("status") in ("failed", "diverged") else "interrupted"
    return Fate(job, said, tried.attempts, _step(batch, job.name), tried.error or str(record.get("error", "")))


def _finished(job: Listed, record: dict[str, Any], tried: Attempts) -> Fate:
    gates, error = _judged(job, record)
    held = not error and all(gate["held"] for gate in gates)
    names = [gate["expression"] for gate in gates if not gate["held"]]
    held_out, certificate = record.get("held_out") or {}, record.get("certificate") or {}
    figures = {
        "ess_fraction": held_out.get("ess_fraction"),
        "kl": held_out.get("kl"),
        "surrogate_lower": held_out.get("surrogate_lower"),
        "certified": certificate.get("certified"),
        "kept": certificate.get("kept"),
        "seconds": record.get("seconds"),
    }
    error = error or "; ".join(names)
    step = record.get("steps") if isinstance(record.get("steps"), int) else 0
    return Fate(job, "finished" if held else "gate failed", tried.attempts, step or 0, error, figures, gates)


def _judged(job: Listed, record: dict[str, Any]) -> tuple[list[dict[str, Any]], str]:
    """The gates of the file: as the run found them when it ended, or over its record where the file has others now."""
    found = record.get("gates")
    if isinstance(found, list) and [g.get("expression") for g in found if isinstance(g, dict)] == list(job.fail_if):
        return found, ""
    try:
        return judge(parse_gates(job.fail_if), record), ""
    except GipoError as error:
        return [], error.message


def _step(batch: BatchDirectory, name: str) -> int:
    try:
        metrics = RunDirectory(batch.run(name)).metrics()
    except RunError:
        return 0
    return metrics[-1]["step"] if metrics else 0
