"""`gipo train --seeds ...` from its settings to its exit code."""

import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gipo_cli import durable
from gipo_cli.data import catalog
from gipo_cli.ensemble.fitting import fit
from gipo_cli.ensemble.outcome import Outcome, judge, unfinished
from gipo_cli.ensemble.planned import Planned, require_together
from gipo_cli.ensemble.standing import Standing, look, status_of
from gipo_cli.ensemble.starts import Log, at_one_step
from gipo_cli.errors import GipoError, InterruptedRun, OutOfTime, RunError, SettingError
from gipo_cli.gates import Gate, require_known
from gipo_cli.locking import allow_open_files
from gipo_cli.logs import Opened, open_log
from gipo_cli.objectives.traits import has_trait
from gipo_cli.pieces import sharing
from gipo_cli.provenance import provenance
from gipo_cli.registry import ADVANTAGES, OBJECTIVES
from gipo_cli.rendering import terminal
from gipo_cli.rendering.ensemble import print_plan
from gipo_cli.rendering.watch import Watch
from gipo_cli.runs import RECORD, RunDirectory
from gipo_cli.summary import kinds
from gipo_cli.training import resuming
from gipo_cli.training.device import choose_device
from gipo_cli.training.signals import stop_requested
from gipo_cli.training.time_limit import TimeLimit
from gipo_cli.training.warm_start import initial_policy

OTHER_FILES = 64  # at most, that training has open beside a lock of each member
AGAIN = "give the same command again."  # of a command that did not come to its end


@dataclass(frozen=True)
class Asked:
    """What the command line says beside what is to be trained."""

    place: Path  # of the members' directories
    gates: list[Gate]
    limit: TimeLimit
    dry_run: bool
    as_json: bool
    quiet: bool


def train_ensemble(planned: Sequence[Planned], asked: Asked) -> None:
    """Train members side by side, each to what its own `gipo train` comes to; those that have ended are left alone.

    Raises:
        SettingError, DataError, RunError: as for one run; what is wrong with any is found before anything is written.
        InterruptedRun: a signal came, or the limit is near; every member was saved.
        DivergedError: a member did; the others ended.
        GateError: a gate did not hold for a member.
    """
    config, watch = planned[0].config, Watch(asked.quiet)
    require_together(planned, has_trait(OBJECTIVES.load(config.objective), "natural"))
    for member in planned:
        require_known(asked.gates, kinds(member.config))
    standing = look(asked.place, planned)
    left = [one for one in standing if not one.has_ended]
    if left:
        _require_files(len(left))
    outcome = Outcome(asked.place, standing, asked.gates, watch)
    if left or asked.dry_run or any(one.is_elsewhere for one in standing):
        device = choose_device(config.device)
        catalog.locate(config.dataset, watch.quiet)
        opened = open_log(config.dataset, config.log_options(), watch.phase)
        log = _require_fit(opened, standing, left, device)
        if asked.dry_run:
            plan = _plan(standing, opened, asked.place, str(device))
            terminal.json_document(plan) if asked.as_json else print_plan(plan)
            return
        if left:
            _train(left, standing, opened, log, asked, outcome)
    judge(outcome, as_json=asked.as_json)


def _require_files(members: int) -> None:
    """Let this process have a lock of every member open, where the system does.

    Raises:
        SettingError: it does not.
    """
    wanted = members + OTHER_FILES
    most = allow_open_files(wanted)
    if most < wanted:
        raise SettingError(
            f"{members} members want {wanted} files open at once, and this process may have {most} (ulimit -Hn).",
            "Give fewer members, or have that limit raised.",
        )


def _require_fit(opened: Opened, standing: Sequence[Standing], left: Sequence[Standing], device: torch.device) -> Log:
    """The log on its device, once all that could be wrong with it for these members was looked at."""
    for finding in opened.findings:
        terminal.note(f"warning: {finding.meaning} [{finding.name}]")
    config = standing[0].planned.config
    if config.init:
        initial_policy(Path(config.init))  # refused here, before anything is written
    for one in standing:
        if one.has_begun:
            resuming.require_same_log(one.run, opened.log)
    log = Log(opened.log, config, device)
    if left:
        log.require_one_size([one.planned for one in left])
    return log


def _plan(standing: Sequence[Standing], opened: Opened, place: Path, device: str) -> dict[str, Any]:
    """What a dry run prints."""
    log, config = opened.log, standing[0].planned.config
    common = {**config.to_dict(), **config.settings, **config.advantage_settings}
    for name in ("settings", "advantage_settings", "seed", "sigma", "steer_sigma"):
        common.pop(name, None)
    return {
        "ensemble": str(place),
        "status": "dry run",
        "device": device,
        "dataset": {
            "name": log.name, "fingerprint": log.fingerprint, "transitions": log.transitions,
            "episodes": log.episodes, "log_probs": log.log_probs_origin,
        },
        "members": [one.plan() for one in standing],
        "config": common,
    }  # fmt: skip


def _train(
    left: Sequence[Standing], standing: Sequence[Standing], opened: Opened, log: Log, asked: Asked, outcome: Outcome
) -> None:
    """Train those that are left to their end, and write into each what it came to."""
    config = left[0].planned.config
    with ExitStack() as locks:
        for one in left:
            _lock(one, locks)
        with _said_in_each(standing, asked):
            for one in left:
                _begin_record(one, opened, asked, len(left), log.device)
            ended = [one for one in standing if one.has_ended]
            with stop_requested(asked.limit) as stop, sharing(config.threads):
                members = at_one_step(left, ended, log, ADVANTAGES.load(config.advantage), outcome.watch.phase, stop)
                fit(members, OBJECTIVES.load(config.objective), asked.place, outcome.watch.phase, stop)
            for one, member in zip(left, members, strict=True):
                outcome.take(one, member)


def _lock(one: Standing, locks: ExitStack) -> None:
    """Hold a member's directory, made where it is new, until `locks` are let go of.

    Raises:
        RunError: another process holds it, or has begun it since this one looked.
    """
    place = one.run.path
    if not one.has_begun and not (place / RECORD).exists():
        RunDirectory.create(place)
    locks.enter_context(one.run)
    if not one.has_begun and (place / RECORD).exists():
        raise RunError(f"{place} was begun by another process since this one looked.", f"Go on: {AGAIN}")


def _begin_record(one: Standing, opened: Opened, asked: Asked, together: int, device: torch.device) -> None:
    run, config = one.run, one.planned.config
    if not one.has_begun:
        # The record comes last: a directory is a run once it has one, and then its configuration is there.
        run.write_config(config.to_dict())
        run.update(**provenance(config, opened))
    elif not run.has_config():
        run.write_config(run.record()["config"])
        terminal.note(f"note: config.toml was missing from {run.path}; it is there again, as the run began.")
    expressions = [gate.expression for gate in one.gates(asked.gates)]
    where = {"device": str(device), "ranks": 1, "command": sys.argv, "trained_together": together}
    run.update(status="running", error=None, **where, fail_if=expressions, gates=[])


@contextmanager
def _said_in_each(standing: Sequence[Standing], asked: Asked) -> Iterator[None]:
    """Have every record say why training ended before its time, and the error how all of them go on."""
    try:
        yield
    except (GipoError, durable.WriteFailed) as error:
        told = error if isinstance(error, GipoError) else durable.refusal(asked.place, error, AGAIN)
        status = "interrupted" if isinstance(told, InterruptedRun) else "failed"
        for one in standing:
            if not one.has_ended and status_of(one.run) == "running":
                one.run.end_badly(status, told.message)
        if isinstance(told, InterruptedRun):
            told.hint = f"Go on: {AGAIN}"
        if isinstance(told, OutOfTime) and asked.as_json:
            terminal.json_document(unfinished(asked.place, standing))
        if isinstance(told, OutOfTime) and asked.gates:
            told.hint += "\nThe members have not ended: no gate was judged yet."
        raise told from error
