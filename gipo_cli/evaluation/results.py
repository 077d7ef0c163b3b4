"""What one run has to say in a comparison, read from its directory and checked."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gipo_cli.errors import RunError
from gipo_cli.evaluation.methods import method_values
from gipo_cli.evaluation.scores import score
from gipo_cli.runs import EVALUATION, RECORD, RunDirectory

Modes = dict[str, NDArray[np.float64]]  # "stochastic" and "deterministic" -> return of each episode


@dataclass(frozen=True)
class Evaluation:
    """Rollouts of a run's policy, and of the behaviour policy where the run has it."""

    environment: str
    step: int  # of the checkpoint
    policy: Modes
    behaviour: Modes | None


@dataclass(frozen=True)
class RunResult:
    """One run; what it cannot tell is None."""

    path: Path
    status: str  # finished, or why it is not
    seed: int
    log: str
    log_key: str  # equal for equal logs
    log_return: float | None  # mean return of the logged episodes
    log_environment: str | None
    method: dict[str, Any] = field(repr=False)  # see methods.method_values
    step: int | None  # of the last checkpoint
    ess_fraction: float | None  # held out, as are the nats
    kl: float | None
    kept: str | None
    seconds: float | None
    updates_per_second: float | None
    evaluation: Evaluation | None

    @property
    def finished(self) -> bool:
        """Whether it trained to its end."""
        return self.status == "finished"

    @property
    def current(self) -> Evaluation | None:
        """The evaluation of its last checkpoint; one of an older checkpoint is of another policy."""
        found = self.evaluation
        return found if found is not None and self.finished and found.step == self.step else None

    @property
    def mean(self) -> float | None:
        """Mean return of the sampled actions of its last checkpoint."""
        return None if self.current is None else float(self.current.policy["stochastic"].mean())

    @property
    def score(self) -> float | None:
        """D4RL's score of `mean`."""
        return None if self.current is None else score(self.current.environment, self.mean or 0.0)


def read_result(run: RunDirectory, evaluation: dict[str, Any] | None = None) -> RunResult:
    """Read a run.

    Args:
        run: whose run.json, config.toml and evaluation.json are read.
        evaluation: in place of evaluation.json.

    Raises:
        RunError: one of them is damaged.
    """
    record = run.record()
    where = run.path / RECORD
    dataset = record.get("dataset")
    if not isinstance(dataset, dict):
        raise RunError(f"{where} is damaged: it names no dataset.", "Train it again with another --out.")
    held_out, certificate = (_table(record, name) for name in ("held_out", "certificate"))
    steps, seconds = _number(record, "steps", where), _number(record, "seconds", where)
    # A resumed run's clock began when it was resumed, one that reuses another's start did not compute it.
    partly = any(str(word).partition("=")[0] in ("--resume", "--reuse") for word in record.get("command") or ())
    kept = certificate.get("kept")
    environment = dataset.get("environment")
    return RunResult(
        path=run.path,
        status=_text(record, "status", where),
        seed=int(_required(record, "seed", where)),
        log=_text(dataset, "name", where),
        log_key=_log_key(dataset, where),
        log_return=_number(dataset, "mean_return", where),
        log_environment=environment if isinstance(environment, str) else None,
        method=_method(run),
        step=None if steps is None else int(steps),
        ess_fraction=_number(held_out, "ess_fraction", where),
        kl=_number(held_out, "kl", where),
        kept=kept if isinstance(kept, str) else None,
        seconds=None if partly else seconds,
        updates_per_second=steps / seconds if steps and seconds and not partly else None,
        evaluation=_evaluation(run, run.evaluation() if evaluation is None else evaluation),
    )


def _method(run: RunDirectory) -> dict[str, Any]:
    config = run.read_config()
    if not isinstance(config.get("settings", {}), dict) or not isinstance(config.get("objective", "gipo"), str):
        raise RunError(f"{run.path / 'config.toml'} names no objective.", "The run directory is damaged.")
    return method_values(config)


def _log_key(dataset: dict[str, Any], where: Path) -> str:
    """The fingerprint; estimated log-probs are in it and differ from seed to seed, so there it is what they leave."""
    if dataset.get("log_probs") == "estimated":
        return f"estimated {[dataset.get(name) for name in ('name', 'transitions', 'episodes', 'mean_return')]}"
    return _text(dataset, "fingerprint", where)


def _evaluation(run: RunDirectory, document: dict[str, Any] | None) -> Evaluation | None:
    if document is None:
        return None
    where = run.path / EVALUATION
    try:
        behaviour = document.get("behaviour")
        return Evaluation(
            environment=_text(document, "environment", where),
            step=int(_required(document, "step", where)),
            policy=_modes(document, "policy", where),
            behaviour=None if behaviour is None else _modes(document, "behaviour", where),
        )
    except RunError as error:
        raise RunError(error.message, f"Write it again with: gipo evaluate {run.path}") from error


def _modes(document: dict[str, Any], name: str, where: Path) -> Modes:
    return {mode: _returns(_table(_table(document, name), mode), where, f"{name}.{mode}") for mode in _MODES}


_MODES = ("stochastic", "deterministic")


def _returns(figures: dict[str, Any], where: Path, name: str) -> NDArray[np.float64]:
    found = figures.get("returns")
    if not isinstance(found, list) or not found or not all(map(_is_number, found)):
        raise RunError(f"{where} is damaged: {name}.returns is no list of finite numbers.")
    return np.asarray(found, np.float64)


def _table(record: dict[str, Any], name: str) -> dict[str, Any]:
    found = record.get(name)
    return found if isinstance(found, dict) else {}


def _text(record: dict[str, Any], name: str, where: Path) -> str:
    found = record.get(name)
    if not isinstance(found, str) or not found:
        raise RunError(f"{where} is damaged: {name} is {found!r}; expected text.")
    return found


def _required(record: dict[str, Any], name: str, where: Path) -> float:
    found = _number(record, name, where)
    if found is None:
        raise RunError(f"{where} is damaged: it has no {name}.")
    return found


def _number(record: dict[str, Any], name: str, where: Path) -> float | None:
    found = record.get(name)
    if found is not None and not _is_number(found):
        raise RunError(f"{where} is damaged: {name} is {str(found)[:40]!r}; expected a finite number.")
    return found


def _is_number(value: Any) -> bool:
    # An integer of a file may be too large for a float, which isfinite says with an exception.
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and abs(value) < 1e300 and math.isfinite(value)
