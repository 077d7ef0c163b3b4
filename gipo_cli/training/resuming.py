"""What `gipo train --resume` takes from a run, and what it refuses."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gipo_cli import checkpoint_files
from gipo_cli.config import TrainConfig, from_values
from gipo_cli.errors import RankLost, RunError, SettingError
from gipo_cli.gates import Gate, flatten, parse_gates
from gipo_cli.runs import CONFIG, METRICS, RECORD
from gipo_cli.summary import DATASET_KEYS, SUMMARY

if TYPE_CHECKING:
    from gipo_cli.data.trajectories import Trajectories
    from gipo_cli.runs import RunDirectory

RUN_VERSION = 1  # of run.json and what it describes
# A log may have moved, which its fingerprint tells from another log; device and threads are what there is.
FREE = ("dataset", "device", "threads")


def refuse_changes(given: dict[str, Any]) -> None:
    """Refuse flags that would make another run of it.

    Raises:
        SettingError: names the first.
    """
    changed = [name for name, value in given.items() if value is not None and name != "device"]
    if changed:
        raise SettingError(
            f"--resume takes every setting from the run; --{changed[0].replace('_', '-')} cannot be given with it.",
            "A run with other settings is a new run: give it its own --out.",
        )


def run_to_resume(given: Path) -> "RunDirectory":
    """The run that a run directory, a checkpoint in it or its config.toml names.

    Raises:
        RunError: there is none, or it is of another format than this version of gipo writes.
    """
    from gipo_cli.runs import RunDirectory

    place = given
    if _names_checkpoint(given):
        place = given.absolute().parent.parent if given.parent.name == "" else given.parent.parent
    elif given.name == CONFIG:
        place = given.parent
    run = RunDirectory.open(place)
    if _names_checkpoint(given) and not given.is_dir():
        raise RunError(f"there is no checkpoint {given}.", f"Go on from the newest: gipo train --resume {place}")
    version = run.record().get("run_version")
    if version != RUN_VERSION:
        newer = isinstance(version, int) and version > RUN_VERSION
        raise RunError(
            f"{place} is a run of format {version}; this version of gipo goes on with format {RUN_VERSION}.",
            "A newer gipo made it: pip install --upgrade gipo"
            if newer
            else f"Train it again: gipo train --config {place / CONFIG} --out NEW",
        )
    return run


def notes_on(given: Path, run: "RunDirectory", ranks: int) -> list[str]:
    """What a user should know of the checkpoint that a run goes on from.

    Args:
        given: the name of the run.
        run: itself.
        ranks: that go on with it.
    """
    newest, found = checkpoint_files.find_latest(run.path)
    notes = [f"warning: {text}" for text in found]
    if newest is None and notes:
        notes.append(f"warning: {run.path} has no checkpoint that is whole; it is trained from its beginning.")
    if newest is not None and _names_checkpoint(given) and given.name != newest.name and not found:
        notes.append(
            f"note: {run.path} goes on from {newest.name}, the newest that is whole, not from {given.name}; "
            "from either it ends in the same bytes."
        )
    before = ranks if newest is None else checkpoint_files.state_of(newest).get("ranks", 1)
    if before != ranks:
        many = "1 rank" if before == 1 else f"{before} ranks"
        notes.append(
            f"note: the run was trained by {many} and goes on with {ranks}: equal up to rounding, not in bytes."
        )
    return notes


def _names_checkpoint(given: Path) -> bool:
    return given.absolute().parent.name == checkpoint_files.PLACE and bool(checkpoint_files.NAME.fullmatch(given.name))


def settings_of_run(run: "RunDirectory") -> TrainConfig:
    """The configuration that a run was begun with.

    Raises:
        RunError: config.toml is damaged, or says something else than when the run began, but for what is FREE.
    """
    place, recorded = run.path / CONFIG, run.record().get("config")
    if isinstance(recorded, dict) and not place.exists():
        return from_values(recorded, str(run.path / "run.json"))
    found = from_values(run.read_config(), str(place))
    if isinstance(recorded, dict):
        _refuse_edited(place, found, from_values(recorded, str(run.path / "run.json")))
    return found


def _refuse_edited(place: Path, found: TrainConfig, begun: TrainConfig) -> None:
    now, then = flatten(found.to_dict()), flatten(begun.to_dict())
    names = [name for name in {**then, **now} if now.get(name) != then.get(name) and name not in FREE]
    if names:
        changes = ", ".join(f"{name} was {_shown(then.get(name))} and is {_shown(now.get(name))}" for name in names)
        raise RunError(
            f"{place} was changed after the run began: {changes}.",
            f"Change it back, or start a new run with it: gipo train --config {place} --out NEW",
        )


def _shown(value: Any) -> str:
    return "not set" if value is None else str(value).lower() if isinstance(value, bool) else str(value) or "empty"


def gates_of_run(run: "RunDirectory") -> list[Gate]:
    """The gates that a run was begun with: being stopped lifts none of them."""
    given = run.record().get("fail_if")
    return parse_gates([text for text in given if isinstance(text, str)] if isinstance(given, list) else None)


def summary_of_finished(run: "RunDirectory", config: TrainConfig) -> dict[str, Any] | None:
    """The summary of a run that has ended, from its record; none where last checkpoint, reports or log ratios are gone.

    Args:
        run: to be resumed.
        config: of the run, as it now is; another place of the log is one to look at.
    """
    record = run.record()
    begun = record.get("config")
    if not isinstance(begun, dict) or begun.get("dataset") != config.dataset:
        return None
    newest, _ = checkpoint_files.find_latest(run.path)
    dataset = record.get("dataset")
    if record.get("status") != "finished" or newest is None or not isinstance(dataset, dict):
        return None
    steps = {checkpoint_files.step_of(newest), *(line["step"] for line in run.metrics()[-1:])}
    if not run.metrics() or steps != {record.get("steps")} or not run.has_log_ratios() or not {*SUMMARY} <= {*record}:
        return None
    summary = {name: record[name] for name in SUMMARY}
    return summary | {"run": str(run.path), "dataset": {name: dataset.get(name) for name in DATASET_KEYS}}


def keep_gates(run: "RunDirectory", expressions: list[str], summary: dict[str, Any]) -> bool:
    """Keep what other gates than it was begun with say of a run that has ended; false where it cannot be written."""
    try:
        with run:
            run.update(fail_if=expressions, gates=summary.get("gates", []))
    except RunError:
        return False
    return True


def require_log_there(run: "RunDirectory", config: TrainConfig) -> None:
    """Refuse to go on without the log, and say where it was.

    Raises:
        RunError: it is a file or a directory that is not there.
    """
    place = Path(config.dataset)
    if place.is_absolute() and not place.exists():
        raise RunError(
            f"the log of {run.path} is gone: it was {place}.",
            f"Bring it back, or set dataset in {run.path / 'config.toml'} to where it is now.",
        )


def require_same_log(run: "RunDirectory", log: "Trajectories") -> None:
    """Refuse to go on with other data.

    Raises:
        RunError: names both fingerprints.
    """
    recorded = run.record().get("dataset", {}).get("fingerprint")
    if recorded != log.fingerprint:
        raise RunError(
            f"{run.path} was trained on another log: fingerprint {recorded}, that of {log.name} is {log.fingerprint}.",
            "Bring back the log that the run began with, or start a new run with --out.",
        )


def require_reports(run: "RunDirectory", config: TrainConfig, step: int) -> None:
    """Refuse to go on from a checkpoint whose reports are not all there: when to stop early depends on them.

    Raises:
        RunError: names the first that is gone.
    """
    there = {line["step"] for line in run.metrics()}
    gone = [due for due in (*range(config.report_every, step, config.report_every), step) if due not in there | {0}]
    if gone:
        raise RunError(
            f"{run.path / METRICS} has lost the report of step {gone[0]}, and {len(gone) - 1} more up to step {step}.",
            f"Bring it back from a copy, or train again: gipo train --config {run.path / CONFIG} --out NEW",
        )


def so_far(config: TrainConfig, run: "RunDirectory") -> dict[str, Any]:
    """What a script is told of a run that has not ended: the step that resuming goes on from, 0 where none is saved."""
    newest, _ = checkpoint_files.find_latest(run.path)
    step = 0 if newest is None else checkpoint_files.step_of(newest)
    return {"run": str(run.path), "status": "interrupted", "step": step, "steps": config.steps}


@contextmanager
def resumable(place: Path) -> Iterator[None]:
    """Let the loss of a rank say how to go on from the newest checkpoint of the run."""
    try:
        yield
    except RankLost as lost:
        if (place / RECORD).exists():  # else it had not begun
            lost.hint = f"Continue under the same torchrun command with: gipo train --resume {place}"
        raise
