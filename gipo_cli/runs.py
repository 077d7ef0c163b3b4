"""The run directory: what training leaves behind, written so that a kill at any instant loses no more than a report."""

import json
import re
import tomllib
from contextlib import suppress
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gipo_cli import durable
from gipo_cli.checkpoint_files import LATEST, checkpoints_in, remove_unfinished
from gipo_cli.errors import GipoError, RunError, SettingError, brief
from gipo_cli.locking import HeldError, hold, release

if TYPE_CHECKING:
    import numpy as np

CONFIG, RECORD, METRICS, LOG_RATIOS, LOCK = "config.toml", "run.json", "metrics.jsonl", "log_ratios.npz", "run.lock"
EVALUATION, OFFLINE = "evaluation.json", "offline.json"
POLICIES = ("behaviour.safetensors", "trained.safetensors")
# What whoever holds the lock alone writes, by `durable.write`; an evaluation is written by anyone.
LOCKED = (CONFIG, RECORD, METRICS, LOG_RATIOS, LATEST, *POLICIES)
UNBEGUN = re.compile(r"config\.toml|run\.lock|\.(config\.toml|run\.json)\.tmp-\d+")  # before there is a record


class RunDirectory:
    """One run's directory; use it as a context manager to write, so that no second process can."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None

    @staticmethod
    def refuse_occupied(path: Path) -> None:
        """Refuse a place that holds anything: a run is never overwritten.

        Raises:
            SettingError: the place is a file, or a directory that is not empty.
        """
        names = {entry.name for entry in path.iterdir()} if path.is_dir() else {str(path)}
        if all(map(UNBEGUN.fullmatch, names)) and (CONFIG not in names or LOCK in names):
            return  # empty, or a run that was killed before its record was written: there is nothing to lose
        if path.exists():
            what = "is not empty" if path.is_dir() else "is a file"
            mend = f"continue it with `gipo train --resume {path}`" if (path / RECORD).exists() else "empty it yourself"
            raise SettingError(f"the output directory {path} {what}.", f"Choose another --out, or {mend}.")

    @classmethod
    def create(cls, path: Path) -> "RunDirectory":
        """Make a new run directory.

        Raises:
            SettingError: the place is taken or cannot be written.
        """
        cls.refuse_occupied(path)
        try:
            durable.make_directory(path)
        except OSError as error:
            raise SettingError(f"the output directory {path} cannot be made ({error.strerror}).") from error
        return cls(path)

    @classmethod
    def open(cls, path: Path) -> "RunDirectory":
        """Open a run that exists.

        Raises:
            RunError: the place is missing or no run.
        """
        if not path.is_dir():
            raise RunError(f"there is no run directory {path}.", "Runs are made by `gipo train --out RUN`.")
        if not (path / RECORD).is_file() and checkpoints_in(path):
            raise RunError(f"{path} has checkpoints, but no {RECORD}, which says of what log they are.", _rescue(path))
        if not (path / RECORD).is_file():
            raise RunError(f"{path} is not a run: it has no {RECORD}.", "Runs are made by `gipo train --out RUN`.")
        return cls(path)

    def __enter__(self) -> "RunDirectory":
        """Lock the run for this process.

        Raises:
            RunError: another process holds it, or it cannot be written.
        """
        try:
            self._lock = hold(self.path / LOCK)
        except HeldError as error:
            raise RunError(f"{self.path} is being written by {error}.", "Wait for it.") from error
        except durable.WriteFailed as error:
            raise self._refusal(error) from error
        durable.remove_leftovers(self.path, LOCKED)
        remove_unfinished(self.path)
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Let go of the run; of one that was being trained the record says how that ended, if it can be written.

        Raises:
            RunError: it could not be written.
        """
        refusal = self._refusal(error) if isinstance(error, durable.WriteFailed) else None
        if refusal is not None and (self.path / RECORD).exists():
            self.end_badly("failed", refusal.message)
        elif error is not None and not isinstance(error, GipoError) and self._is_running():
            stopped = isinstance(error, (SystemExit, KeyboardInterrupt))
            self.end_badly("interrupted" if stopped else "failed", brief(error))
        if self._lock is not None:
            release(self._lock)
            self._lock = None
        if refusal is not None:
            raise refusal from error

    def _is_running(self) -> bool:
        with suppress(RunError):
            return self.record().get("status") == "running"
        return False

    def _refusal(self, error: OSError) -> RunError:
        """Once it has a record a run is resumed; before that it is begun again."""
        again = "" if (self.path / RECORD).exists() else "give the same command again."
        return durable.refusal(self.path, error, again)

    def end_badly(self, status: str, message: str) -> None:
        """Say in the record how a run ended, where that can be written: there is an error to report already."""
        with suppress(OSError, RunError):
            self.update(status=status, error=message)

    def write_config(self, values: dict[str, Any]) -> None:
        """Write config.toml; `gipo train --config` on it repeats the run."""
        durable.write(self.path / CONFIG, toml_text(values).encode())

    def read_config(self) -> dict[str, Any]:
        """Read config.toml.

        Raises:
            RunError: it is missing or damaged.
        """
        try:
            return tomllib.loads((self.path / CONFIG).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RunError(
                f"{self.path / CONFIG} cannot be read ({error}).",
                f"Move it away: gipo train --resume {self.path} writes it again as the run began.",
            ) from error

    def record(self) -> dict[str, Any]:
        """Read run.json.

        Raises:
            RunError: it is damaged.
        """
        try:
            record = _json((self.path / RECORD).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise RunError(f"{self.path / RECORD} cannot be read ({brief(error)}).", _rescue(self.path)) from error
        if not isinstance(record, dict):
            raise RunError(f"{self.path / RECORD} is damaged: expected an object.", _rescue(self.path))
        return record

    def update(self, **fields: Any) -> None:
        """Set fields of run.json, keeping the others."""
        record = self.record() if (self.path / RECORD).exists() else {}
        text = json.dumps(record | fields, indent=1, allow_nan=False)
        durable.write(self.path / RECORD, (text + "\n").encode())

    def write_evaluation(self, document: dict[str, Any], name: str = EVALUATION) -> None:
        """Write evaluation.json in place of an older one; no lock is needed, since training never touches it."""
        text = json.dumps(document, indent=1, allow_nan=False)
        durable.write(self.path / name, (text + "\n").encode())

    def evaluation(self, name: str = EVALUATION) -> dict[str, Any] | None:
        """Read evaluation.json, or offline.json; none where the run has not been evaluated so.

        Raises:
            RunError: it is damaged.
        """
        path = self.path / name
        again = f"Write it again with: gipo evaluate {self.path}{' --offline' if name == OFFLINE else ''}"
        if not path.exists():
            return None
        try:
            found = _json(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise RunError(f"{path} cannot be read ({brief(error)}).", again) from error
        if not isinstance(found, dict):
            raise RunError(f"{path} is damaged: expected an object.", again)
        return found

    def append_metrics(self, metrics: dict[str, Any]) -> None:
        """Add one line to metrics.jsonl; it is on the disk before a checkpoint that follows it is."""
        durable.append(self.path / METRICS, (json.dumps(metrics, allow_nan=False) + "\n").encode())

    def metrics(self) -> list[dict[str, Any]]:
        """The whole lines of metrics.jsonl; a line that a kill cut short is left out."""
        path = self.path / METRICS
        lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
        try:
            found = [_json(line) for line in lines]
        except (ValueError, RecursionError) as error:
            raise RunError(f"{path} is damaged ({brief(error)}).") from error
        if not all(isinstance(line, dict) and isinstance(line.get("step"), int) for line in found):
            raise RunError(f"{path} is damaged: expected an object with its step on every line.")
        return found

    def truncate_metrics(self, step: int) -> None:
        """Keep the lines up to and including `step`: what came after the checkpoint is done again."""
        kept = [line for line in self.metrics() if line["step"] <= step]
        text = "".join(json.dumps(line, allow_nan=False) + "\n" for line in kept)
        durable.write(self.path / METRICS, text.encode())

    def has_log_ratios(self) -> bool:
        """Whether log_ratios.npz was written."""
        return (self.path / LOG_RATIOS).is_file()

    def has_config(self) -> bool:
        """Whether config.toml is there."""
        return (self.path / CONFIG).exists()

    @durable.failing_by_name
    def write_log_ratios(self, **arrays: "np.ndarray") -> None:
        """Write log_ratios.npz; the same arrays give the same bytes, so no clock time goes into the archive."""
        from gipo_cli.archives import PIECE, packed

        with packed(arrays, self.path) as content:
            durable.write(self.path / LOG_RATIOS, iter(lambda: content.read(PIECE), b""))


def _rescue(run: Path) -> str:
    """What can be done with a run whose record is lost."""
    again = f"Train it again: gipo train --config {run / CONFIG} --out NEW" if (run / CONFIG).exists() else ""
    newest = checkpoints_in(run)[-1:]
    start = f"Or start a new run from its policy: gipo train --init {newest[0]}" if newest else ""
    return "\n".join(line for line in (again, start) if line)


def _json(text: str | bytes) -> Any:
    """JSON as runs write it: they never write NaN or infinity, which Python's reader takes.

    Raises:
        ValueError, RecursionError: it is none.
    """

    def refuse(name: str) -> None:
        raise ValueError(f"it holds {name}, which is not JSON")

    return json.loads(text, parse_constant=refuse)


def find_runs(given: str) -> list[Path]:
    """The runs that one argument names: a run, a directory whose children are runs, or a glob of either, in order.

    A glob passes over what is no run, as the files between them; a name that a person wrote out must be one.

    Raises:
        RunError: there is no run in it.
    """
    path = Path(given)
    if not path.exists() and any(c in given for c in "*?["):
        found = [run for match in sorted(map(Path, glob(given)), key=_natural) for run in _runs_in(match)]
        if not found:
            raise RunError(f"no run matches {given}.", "Runs are made by `gipo train --out RUN`.")
        return found
    found = _runs_in(path)
    if not found and path.is_dir():
        raise RunError(
            f"{path} is not a run and holds none: there is no {RECORD} in it or in its subdirectories.",
            "Runs are made by `gipo train --out RUN`.",
        )
    return found or [RunDirectory.open(path).path]


def _runs_in(path: Path) -> list[Path]:
    if (path / RECORD).is_file():
        return [path]
    children = sorted(path.iterdir(), key=_natural) if path.is_dir() else []
    return [child for child in children if (child / RECORD).is_file()]


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sorts seed-2 before seed-10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", str(path))]


def toml_text(values: dict[str, Any]) -> str:
    """TOML of plain values with one level of tables, tables last as TOML wants them."""
    plain = {name: value for name, value in values.items() if not isinstance(value, dict)}
    text = "".join(f"{name} = {_toml_value(value)}\n" for name, value in plain.items())
    for name, table in values.items():
        if isinstance(table, dict):
            text += f"\n[{name}]\n" + "".join(f"{key} = {_toml_value(value)}\n" for key, value in table.items())
    return text


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # A JSON string is a TOML basic string, surrogate pairs apart, and DEL, which TOML wants escaped.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml_value(item) for item in value) + "]"
    return repr(value)
