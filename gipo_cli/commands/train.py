"""`gipo train`: a log in, a run directory with a policy out."""

import platform
import sys
import time
import tomllib
from dataclasses import asdict, replace
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gipo_cli import __version__
from gipo_cli.commands import (
    Accept,
    Behaviour,
    EstimateBehaviour,
    FailIf,
    LogProbConvention,
    LogProbKey,
    Mapping,
    Repair,
    as_one_of_ranks,
    split_names,
)
from gipo_cli.config import TrainConfig, from_values
from gipo_cli.errors import DivergedError, GipoError, InterruptedRun, SettingError, unknown_name
from gipo_cli.gates import Gate, enforce, parse_gates, pass_through, require_known

if TYPE_CHECKING:
    from gipo_cli.data.trajectories import Trajectories
    from gipo_cli.logs import Opened
    from gipo_cli.runs import RunDirectory

DEFAULTS = {name: field.default for name, field in TrainConfig.__dataclass_fields__.items()}
STATUS = {DivergedError: "diverged", InterruptedRun: "interrupted"}
# Of the summary as `gates.flatten` has them, but for the settings of objective and advantage; a test holds them to it.
SUMMARY_KINDS: dict[str, type] = {
    **dict.fromkeys(
        (
            "run", "status", "dataset.name", "dataset.fingerprint", "dataset.log_probs", "dataset.environment",
            "objective", "advantage", "warm_start.kind", "certificate.reason", "certificate.kept",
            "certificate.last.reason",
        ),
        str,
    ),
    **dict.fromkeys(("ended_early", "certificate.certified", "certificate.last.certified"), bool),
    **dict.fromkeys(
        (
            "dataset.transitions", "dataset.episodes", "dataset.mean_return", "steps", "seconds", "warm_start.kl",
            "warm_start.behaviour_kl", "warm_start.version", "warm_start.versions", "critic.explained",
            "critic.explained_lower", "critic.explained_held_in", "certificate.explained_lower",
            "certificate.surrogate_lower", "certificate.ess_fraction", "certificate.level", "certificate.kept_step",
            "certificate.last.explained_lower", "certificate.last.surrogate_lower", "certificate.last.ess_fraction",
            "held_out.ess_fraction", "held_out.kl", "held_out.surrogate", "held_out.surrogate_lower",
        ),
        float,
    ),
}  # fmt: skip
DATASET_KEYS = ("name", "fingerprint", "transitions", "episodes", "log_probs", "environment", "mean_return")


@as_one_of_ranks
def train(
    dataset: Annotated[
        str | None, typer.Option(help="A catalog name (gipo datasets list), a path, or minari:ID.", show_default=False)
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Run directory to make; never overwritten. (default: runs/DATASET)")
    ] = None,
    objective: Annotated[str | None, typer.Option(help="See `gipo objectives`. (default: gipo)")] = None,
    sigma: Annotated[
        str | None,
        typer.Option(metavar="X|auto", help="Short for --set sigma=X; auto: steered to --kl-target. (default: 1.0)"),
    ] = None,
    advantage: Annotated[
        str | None, typer.Option(help=f"See `gipo advantages`. (default: {DEFAULTS['advantage']})")
    ] = None,
    steps: Annotated[int | None, typer.Option(help=f"Updates of the policy. (default: {DEFAULTS['steps']})")] = None,
    kl_target: Annotated[
        float | None,
        typer.Option(
            help=f"Nats of KL(behaviour || policy) to steer to; 0: no anchor. (default: {DEFAULTS['kl_target']})"
        ),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of everything random. (default: 0)")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N. (default: auto)")] = None,
    init: Annotated[
        str | None, typer.Option(help="Start from this run, checkpoint or policy file.", show_default=False)
    ] = None,
    log_prob_key: LogProbKey = "",
    log_prob_convention: LogProbConvention = "",
    mapping: Mapping = None,
    repair: Repair = None,
    behaviour: Behaviour = None,
    estimate_behaviour: EstimateBehaviour = False,
    accept: Accept = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any setting of the objective, the advantage or config.toml."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(help="Read settings from a TOML file; flags win over it.", show_default=False)
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(metavar="RUN", help="Continue a run from its newest whole checkpoint.")
    ] = None,
    reuse: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Take start and advantages from a run on the same log, computing neither."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check log and settings, print them, train nothing.")
    ] = False,
    log_to: Annotated[
        list[str] | None,
        typer.Option(metavar="NAMES", help="Send the metrics to tensorboard, trackio or wandb, too, comma-separated."),
    ] = None,
    fail_if: FailIf = None,
    json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON document.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print no progress.")] = False,
) -> None:
    """Train a policy on a log alone, and say how far it can be trusted."""
    gates = parse_gates(fail_if)
    flags = {
        "dataset": dataset, "objective": objective, "advantage": advantage, "steps": steps, "kl_target": kl_target,
        "seed": seed, "device": device, "init": init, "log_prob_key": log_prob_key or None,
        "log_prob_convention": log_prob_convention or None, "mapping": _absolute(mapping),
        "repair": split_names(repair) or None, "behaviour": _absolute(behaviour),
        "estimate_behaviour": estimate_behaviour or None, "accept": split_names(accept) or None,
    }  # fmt: skip
    flags = {name: value for name, value in flags.items() if value is not None}
    assignments = [*(set_ or []), *([_sigma(sigma)] if sigma is not None else [])]
    if resume is not None:
        _refuse_changes({**flags, "set": assignments or None, "config": config, "out": out, "reuse": reuse})
    settled = _settle(config, flags, assignments) if resume is None else _settings_of_run(resume)
    if resume is not None and device is not None:
        settled = replace(settled, device=device)

    if resume is not None and not gates:
        gates = _gates_of_run(resume)
    require_known(gates, _kinds(settled))

    import torch

    from gipo_cli.data import catalog
    from gipo_cli.logs import open_log
    from gipo_cli.registry import ADVANTAGES, OBJECTIVES
    from gipo_cli.rendering import terminal
    from gipo_cli.rendering.summary import print_summary
    from gipo_cli.rendering.watch import Watch
    from gipo_cli.runs import RunDirectory
    from gipo_cli.trackers import reporting, require_trackers
    from gipo_cli.training.device import choose_device
    from gipo_cli.training.dimensions import require_dimensions
    from gipo_cli.training.distributed import current
    from gipo_cli.training.loop import fit
    from gipo_cli.training.other_ranks import give_a_share
    from gipo_cli.training.resuming import require_same_log, resumable, trained_by_other_ranks
    from gipo_cli.training.reuse import require_same_start
    from gipo_cli.training.warm_start import initial_policy

    trackers = require_trackers(split_names(log_to))
    objective_function, estimator = OBJECTIVES.load(settled.objective), ADVANTAGES.load(settled.advantage)
    ranks = current()
    chosen_device = ranks.device(choose_device(settled.device))
    watch = Watch(quiet or not ranks.first)
    with ranks.in_turn():
        catalog.locate(settled.dataset, watch.quiet)  # recorded here where it has to be, with progress or without
        opened = open_log(settled.dataset, settled.log_options(), watch.phase)
    log, findings = opened.log, opened.findings
    ranks.require_same("a configuration", repr(replace(settled, dataset="", device="")).encode())
    ranks.require_same("a log", log.fingerprint.encode())
    if not ranks.first:
        if not dry_run:
            give_a_share(settled, log, resume or out or Path("runs") / log.name, chosen_device, ranks)
        return
    for finding in findings:
        terminal.note(f"warning: {finding.meaning} [{finding.name}]")
    if settled.init:
        initial_policy(Path(settled.init))  # refused here, before anything is written
    if settled.ratios == "per-dimension":
        require_dimensions(log)
    reused = require_same_start(reuse, settled, log) if reuse is not None else None
    place = resume or out or Path("runs") / log.name
    if dry_run:
        RunDirectory.refuse_occupied(place)
        if gates:
            terminal.note(f"{len(gates)} gates are understood; a dry run has nothing to judge by them.")
        _show_plan(settled, log, place, str(chosen_device), as_json=json)
        return
    run = RunDirectory.open(place) if resume is not None else RunDirectory.create(place)
    with run, resumable(place):
        if resume is None:
            # The record comes last: a directory is a run once it has one, and then its configuration is there.
            run.write_config(settled.to_dict())
            run.update(**_facts(settled, opened))
        else:
            require_same_log(run, log)
            if other := trained_by_other_ranks(run.path, ranks.size):
                terminal.note(f"note: {other}")
        expressions = [gate.expression for gate in gates]
        where = {"device": str(chosen_device), "ranks": ranks.size, "command": sys.argv}
        run.update(status="running", **where, fail_if=expressions, gates=[])
        torch.set_num_threads(settled.threads)
        try:
            with reporting(trackers, run, settled.to_dict()) as reporters:
                trained = fit(
                    settled, objective_function, estimator, log, run, chosen_device, watch.phase, reused,
                    reporters.report, ranks,
                )  # fmt: skip
        except GipoError as error:
            run.update(status=STATUS.get(type(error), "failed"), error=error.message)
            raise
        settings = trained.width.settings(settled.settings)
        summary = _summary(settled, settings, run, trained.facts, time.monotonic() - watch.began)
        problem = pass_through(gates, summary)
        # The record keeps its own, fuller account of the dataset.
        run.update(**{**summary, "dataset": run.record()["dataset"]})
    if json:
        terminal.json_document(summary)
    else:
        print_summary(summary)
    enforce(summary.get("gates", ()), problem)


def _settle(config: Path | None, flags: dict[str, Any], assignments: list[str]) -> TrainConfig:
    """File, then flags, then --set; the settings of objective and estimator are checked and filled in."""
    from gipo_cli import settings
    from gipo_cli.objectives.settings import resolve
    from gipo_cli.registry import ADVANTAGES, OBJECTIVES
    from gipo_cli.training.width import require_width

    values = _read_toml(config) if config else {}
    values.update(flags)
    objective, advantage = (values.get(name, DEFAULTS[name]) for name in ("objective", "advantage"))
    function, estimator = OBJECTIVES.load(objective), ADVANTAGES.load(advantage)
    given, given_advantage = (dict(values.pop(name, {})) for name in ("settings", "advantage_settings"))
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise SettingError(f"--set {assignment!r} has no value.", "Write --set NAME=VALUE, as in --set sigma=0.5.")
        if name in settings.settings_of(function):
            given[name] = value
        elif name in settings.settings_of(estimator):
            given_advantage[name] = value
        elif name in DEFAULTS:
            values[name] = _toml_value(value)
        else:
            _refuse_near(name, [*settings.settings_of(estimator), *DEFAULTS])
            given[name] = value  # the objective says what it has
    values["settings"] = resolve(objective, function, given)
    values["advantage_settings"] = settings.resolve(ADVANTAGES.kind, advantage, estimator, given_advantage)
    source = str(config) if config else "gipo train"
    settled = from_values(values, source)
    require_width(settled)
    return replace(settled, dataset=_lasting_name(settled.dataset))


def _refuse_near(name: str, known: list[str]) -> None:
    """Refuse a name that is nearly one of a setting that is not the objective's."""
    if get_close_matches(name, known, n=1, cutoff=0.8):
        raise unknown_name("setting", name, known)


def _sigma(given: str) -> str:
    return "steer_sigma=kl" if given == "auto" else f"sigma={given}"


def _lasting_name(dataset: str) -> str:
    """A path is made absolute, so that config.toml repeats the run from any directory."""
    return str(Path(dataset).resolve()) if Path(dataset).exists() else dataset


def _absolute(path: Path | None) -> str | None:
    return None if path is None else str(path.resolve())


def _toml_value(text: str) -> Any:
    """What a value on the command line means: as TOML reads it, or the text itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise SettingError(f"--config: {path} cannot be read ({reason}).") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingError(f"--config: {path} is not TOML ({error}).") from error


def _refuse_changes(given: dict[str, Any]) -> None:
    changed = [name for name, value in given.items() if value is not None and name != "device"]
    if changed:
        raise SettingError(
            f"--resume takes every setting from the run; --{changed[0].replace('_', '-')} cannot be given with it.",
            "A run with other settings is a new run: give it its own --out.",
        )


def _settings_of_run(place: Path) -> TrainConfig:
    from gipo_cli.runs import RunDirectory

    return from_values(RunDirectory.open(place).read_config(), str(place / "config.toml"))


def _facts(config: TrainConfig, opened: "Opened") -> dict[str, Any]:
    """What run.json says about the log and the software, for whoever reads it later."""
    from importlib.metadata import version

    log = opened.log
    packages = ("torch", "numpy", "h5py", "gymnasium", "safetensors")
    return {
        "run_version": 1,
        "dataset": {
            "name": log.name,
            "source": log.source,
            "fingerprint": log.fingerprint,
            "transitions": log.transitions,
            "episodes": log.episodes,
            "mean_return": float(log.episode_returns.mean()),
            "environment": log.environment,
            "convention": log.convention,
            "log_probs": log.log_probs_origin,
            "repairs": list(log.repairs),
            "notes": list(log.notes),
        },
        "estimate": opened.estimate,
        "warnings": [asdict(finding) for finding in opened.findings],
        "objective": config.objective,
        "settings": config.settings,
        "advantage": config.advantage,
        "advantage_settings": config.advantage_settings,
        "seed": config.seed,
        "versions": {"gipo": __version__, "python": platform.python_version()} | {p: version(p) for p in packages},
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _gates_of_run(place: Path) -> list[Gate]:
    """The gates that a run was begun with: being stopped lifts none of them."""
    from gipo_cli.runs import RunDirectory

    given = RunDirectory.open(place).record().get("fail_if")
    return parse_gates([text for text in given if isinstance(text, str)] if isinstance(given, list) else None)


def _kinds(config: TrainConfig) -> dict[str, type]:
    """Every key of the summary that training will end with, so that a gate that means nothing costs no training."""
    settings = {f"settings.{name}": float for name in config.settings}
    return {**SUMMARY_KINDS, **settings, **{f"advantage_settings.{name}": float for name in config.advantage_settings}}


def _summary(
    config: TrainConfig, settings: dict[str, float], run: "RunDirectory", facts: dict[str, Any], seconds: float
) -> dict[str, Any]:
    dataset, final = run.record()["dataset"], run.metrics()[-1]
    return {
        "run": str(run.path),
        "status": "finished",
        "dataset": {name: dataset[name] for name in DATASET_KEYS},
        "objective": config.objective,
        "settings": settings,
        "advantage": config.advantage,
        "advantage_settings": config.advantage_settings,
        "steps": final["step"],
        "ended_early": final["step"] < config.steps,
        "seconds": round(seconds, 1),
        **facts,
        "held_out": final["held_out"],
    }


def _show_plan(config: TrainConfig, log: "Trajectories", place: Path, device: str, as_json: bool) -> None:
    from gipo_cli.rendering import terminal

    plan = {
        "run": str(place),
        "status": "dry run",
        "device": device,
        "dataset": {
            "name": log.name, "fingerprint": log.fingerprint, "transitions": log.transitions,
            "episodes": log.episodes, "log_probs": log.log_probs_origin,
        },
        "config": config.to_dict(),
    }  # fmt: skip
    if as_json:
        terminal.json_document(plan)
        return
    terminal.line(f"Would train on {log.name} ({log.transitions:,} steps, {log.episodes:,} episodes) into {place}.")
    settings = {**config.to_dict(), **config.settings, **config.advantage_settings}
    del settings["settings"], settings["advantage_settings"]
    terminal.table("", ["setting", "value"], [[name, str(value)] for name, value in settings.items()])
