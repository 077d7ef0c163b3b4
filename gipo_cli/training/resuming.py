"""What `gipo train --resume` takes from a run, and what it refuses."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gipo_cli.config import TrainConfig, from_values
from gipo_cli.errors import RunError, SettingError
from gipo_cli.gates import Gate, parse_gates

if TYPE_CHECKING:
    from gipo_cli.data.trajectories import Trajectories
    from gipo_cli.runs import RunDirectory


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


def settings_of_run(place: Path) -> TrainConfig:
    """The configuration that a run was begun with."""
    from gipo_cli.runs import RunDirectory

    return from_values(RunDirectory.open(place).read_config(), str(place / "config.toml"))


def gates_of_run(place: Path) -> list[Gate]:
    """The gates that a run was begun with: being stopped lifts none of them."""
    from gipo_cli.runs import RunDirectory

    given = RunDirectory.open(place).record().get("fail_if")
    return parse_gates([text for text in given if isinstance(text, str)] if isinstance(given, list) else None)


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


def so_far(config: TrainConfig, run: "RunDirectory") -> dict[str, Any]:
    """What a script is told of a run that has not ended: the step that resuming goes on from, 0 where none is saved."""
    from gipo_cli.training.checkpoints import load_latest

    newest = load_latest(run.path)
    return {
        "run": str(run.path), "status": "interrupted", "step": 0 if newest is None else newest.step,
        "steps": config.steps,
    }  # fmt: skip
