"""How far the members of an ensemble are, by what lies in their directories."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gipo_cli import checkpoint_files
from gipo_cli.config import TrainConfig
from gipo_cli.ensemble.planned import Planned
from gipo_cli.errors import RunError, SettingError
from gipo_cli.gates import Gate
from gipo_cli.runs import RECORD, RunDirectory
from gipo_cli.training import resuming


@dataclass(frozen=True)
class Standing:
    """A member, its directory, and what there is of it."""

    planned: Planned
    run: RunDirectory
    has_begun: bool
    summary: dict[str, Any] | None = None  # of one that has finished
    diverged: str = ""  # of one that has diverged and would again: what it said
    is_elsewhere: bool = False  # it was begun on a log of another name, which may be another log

    @property
    def has_ended(self) -> bool:
        """Whether there is nothing left to train."""
        return self.summary is not None or bool(self.diverged)

    def gates(self, given: list[Gate]) -> list[Gate]:
        """Those of the command, else those that the member was begun with."""
        return given or (resuming.gates_of_run(self.run) if self.has_begun else [])

    def plan(self) -> dict[str, Any]:
        """What a dry run says of it: sigma is auto where it is steered, and none where the objective has none."""
        config = self.planned.config
        status = "finished" if self.summary else "diverged" if self.diverged else "begun" if self.has_begun else "new"
        return {
            "member": self.planned.name,
            "run": str(self.run.path),
            "status": status,
            "step": resuming.so_far(config, self.run)["step"],
            "seed": config.seed,
            "sigma": "auto" if config.steer_sigma else config.settings.get("sigma"),
        }


def look(place: Path, members: Sequence[Planned]) -> list[Standing]:
    """Where each member stands; nothing is written.

    Raises:
        SettingError: the place is taken by something else, or a member was begun with other settings.
        RunError: a member's record or configuration is damaged, or of another version.
    """
    if (place / RECORD).exists():
        raise SettingError(f"{place} is a run, and not a directory of members.", "Choose another --out.")
    if place.exists() and not place.is_dir():
        raise SettingError(f"the output directory {place} is a file.", "Choose another --out.")
    return [_look(place / member.name, member) for member in members]


def _look(place: Path, member: Planned) -> Standing:
    if not (place / RECORD).exists():
        RunDirectory.refuse_occupied(place)
        return Standing(member, RunDirectory(place), has_begun=False)
    run = resuming.run_to_resume(place)
    begun = resuming.settings_of_run(run)
    _refuse_other(place, begun, member.config)
    record = run.record()
    diverged = str(record.get("error") or "it diverged") if record.get("status") == "diverged" else ""
    summary, is_elsewhere = resuming.summary_of_finished(run, begun), begun.dataset != member.config.dataset
    return Standing(member, run, True, summary, diverged, is_elsewhere)


def _refuse_other(place: Path, begun: TrainConfig, asked: TrainConfig) -> None:
    before, now = begun.to_dict(), asked.to_dict()
    changed = next((name for name in now if name not in resuming.FREE and before[name] != now[name]), None)
    if changed is not None:
        raise SettingError(
            f"{place} was begun with {changed} {before[changed]!r}, and this command says {now[changed]!r}.",
            "Choose another --out; runs are never overwritten.",
        )


def newest_common(runs: Sequence[RunDirectory]) -> int:
    """The newest step of which every run has a whole checkpoint; 0 where there is none."""
    steps = [{checkpoint_files.step_of(path) for path in checkpoint_files.checkpoints_in(run.path)} for run in runs]
    common = sorted(set.intersection(*steps), reverse=True)
    places = {step: [checkpoint_files.place_of(run.path, step) for run in runs] for step in common}
    return next((step for step in common if all(map(checkpoint_files.is_whole, places[step]))), 0)


def status_of(run: RunDirectory) -> str | None:
    """What its record says of a run; none where that is damaged."""
    with suppress(RunError):
        return run.record().get("status")
    return None
