"""`gipo train`: a log in, a run directory with a policy out."""

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gipo_cli.commands import (
    Accept,
    Behaviour,
    EstimateBehaviour,
    FailIf,
    LogProbConvention,
    LogProbKey,
    Mapping,
    MaxTimeExit,
    Repair,
    as_one_of_ranks,
    command_began,
    has_ranks,
    is_first_rank,
    split_names,
)
from gipo_cli.config import TrainConfig
from gipo_cli.ensemble import planned
from gipo_cli.errors import DivergedError, GipoError, InterruptedRun, OutOfTime, SettingError
from gipo_cli.gates import Gate, enforce, parse_gates, pass_through, require_known
from gipo_cli.settling import DEFAULTS, assigned, read_toml, settle, width_named
from gipo_cli.summary import kinds, summarise
from gipo_cli.training import resuming
from gipo_cli.training.time_limit import time_limit

if TYPE_CHECKING:
    from gipo_cli.runs import RunDirectory

STATUS = {DivergedError: "diverged", InterruptedRun: "interrupted", OutOfTime: "interrupted"}


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
        typer.Option(
            metavar="X|auto",
            help="Short for --set sigma=X; auto: steered to --kl-target; 0.5,1,2: a run of each. (default: 1.0)",
        ),
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
    seeds: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Train a run of each seed, 0-7 or 0,2,5, with each of --sigma, 0.5,1,2, side by side in --out.",
            show_default=False,
        ),
    ] = None,
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
        Path | None,
        typer.Option(
            metavar="RUN", help="Continue a run, also named by a checkpoint of it, from its newest whole checkpoint."
        ),
    ] = None,
    reuse: Annotated[
        Path | None,
        typer.Option(metavar="RUN", help="Take start and advantages from a run on the same log, computing neither."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check log and settings, print them, train nothing.")
    ] = False,
    keep: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Keep the newest N checkpoints and that of step 0; of those the certificate chooses. (default: all)",
        ),
    ] = None,
    max_time: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            help="Stop with a checkpoint before this much time has passed: 90s, 50m, 1h30m. Continue with --resume.",
        ),
    ] = None,
    max_time_exit: MaxTimeExit = None,
    log_to: Annotated[
        list[str] | None,
        typer.Option(metavar="NAMES", help="Send the metrics to tensorboard, trackio or wandb, too, comma-separated."),
    ] = None,
    fail_if: FailIf = None,
    json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON document.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print no progress.")] = False,
) -> None:
    """Train a policy on a log alone, and say how far it can be trusted."""
    limit = time_limit(max_time, max_time_exit, command_began())
    gates = parse_gates(fail_if)
    flags = {
        "dataset": dataset, "objective": objective, "advantage": advantage, "steps": steps, "kl_target": kl_target,
        "seed": seed, "device": device, "init": init, "log_prob_key": log_prob_key or None,
        "log_prob_convention": log_prob_convention or None, "mapping": _absolute(mapping),
        "repair": split_names(repair) or None, "behaviour": _absolute(behaviour),
        "keep": keep, "estimate_behaviour": estimate_behaviour or None, "accept": split_names(accept) or None,
    }  # fmt: skip
    flags = {name: value for name, value in flags.items() if value is not None}
    named = [*assigned(set_ or ())]
    if planned.is_asked(seeds, sigma):
        of_one_run = {"resume": resume, "reuse": reuse, "log-to": log_to}
        of_one_seed = {"seed": seed, "set seed": dict(named).get("seed")} if seeds is not None else {}
        planned.refuse_beside({**of_one_run, **of_one_seed}, in_ranks=has_ranks())
        place = planned.required(out)
        members = planned.plan(seeds, sigma, lambda more: _settle(config, flags, [*named, *more]))
        from gipo_cli.ensemble.command import Asked, train_ensemble

        train_ensemble(members, Asked(place, gates, limit, dry_run=dry_run, as_json=json, quiet=quiet))
        return
    named += [width_named(sigma)] if sigma is not None else []
    if resume is not None:
        resuming.refuse_changes({**flags, "set": named or None, "config": config, "out": out, "reuse": reuse})
    resumed = None if resume is None else resuming.run_to_resume(resume)
    settled = _settle(config, flags, named) if resumed is None else resuming.settings_of_run(resumed)
    if resumed is not None:
        settled = replace(settled, device=device or settled.device)
        gates = gates or resuming.gates_of_run(resumed)
    require_known(gates, kinds(settled))
    if resumed is not None:
        finished = resuming.summary_of_finished(resumed, settled)
        if finished is not None:
            if is_first_rank():
                _answer_again(resumed, finished, gates, fail_if if not dry_run else None, as_json=json)
            return
        resuming.require_log_there(resumed, settled)

    from gipo_cli.data import catalog
    from gipo_cli.logs import open_log
    from gipo_cli.provenance import provenance
    from gipo_cli.registry import ADVANTAGES, OBJECTIVES
    from gipo_cli.rendering import terminal
    from gipo_cli.rendering.plan import show_plan
    from gipo_cli.rendering.watch import Watch
    from gipo_cli.runs import RunDirectory
    from gipo_cli.trackers import reporting, require_trackers
    from gipo_cli.training.device import choose_device
    from gipo_cli.training.dimensions import require_dimensions
    from gipo_cli.training.distributed import current
    from gipo_cli.training.loop import fit
    from gipo_cli.training.other_ranks import give_a_share
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
    place = resumed.path if resumed else out or Path("runs") / log.name
    if not ranks.first:
        if not dry_run:
            give_a_share(settled, log, place, chosen_device, ranks)
        return
    for finding in findings:
        terminal.note(f"warning: {finding.meaning} [{finding.name}]")
    if settled.init:
        initial_policy(Path(settled.init))  # refused here, before anything is written
    if settled.ratios == "per-dimension":
        require_dimensions(log)
    reused = require_same_start(reuse, settled, log) if reuse is not None else None
    if dry_run:
        if resumed is None:
            RunDirectory.refuse_occupied(place)
        else:
            resuming.require_same_log(resumed, log)
        if gates:
            terminal.note(f"{len(gates)} gates are understood; a dry run has nothing to judge by them.")
        step = None if resumed is None else resuming.so_far(settled, resumed)["step"]
        show_plan(settled, log, place, str(chosen_device), step, as_json=json)
        return
    run = resumed or RunDirectory.create(place)
    with run, resuming.resumable(place):
        if resume is None:
            # The record comes last: a directory is a run once it has one, and then its configuration is there.
            run.write_config(settled.to_dict())
            run.update(**provenance(settled, opened))
        else:
            resuming.require_same_log(run, log)
            for text in resuming.notes_on(resume, run, ranks.size):
                terminal.note(text)
            if not run.has_config():
                run.write_config(run.record()["config"])
                terminal.note(f"note: config.toml was missing from {run.path}; it is there again, as the run began.")
        expressions = [gate.expression for gate in gates]
        where = {"device": str(chosen_device), "ranks": ranks.size, "command": sys.argv}
        run.update(status="running", error=None, **where, fail_if=expressions, gates=[])
        try:
            with reporting(trackers, run, settled.to_dict()) as reporters:
                trained = fit(
                    settled, objective_function, estimator, log, run, chosen_device, watch.phase, reused,
                    reporters.report, limit, ranks,
                )  # fmt: skip
        except GipoError as error:
            run.end_badly(STATUS.get(type(error), "failed"), error.message)
            if isinstance(error, OutOfTime):
                if json:
                    terminal.json_document(resuming.so_far(settled, run))
                if gates:
                    error.hint += f"\nThe run has not ended: {_gates_are(len(gates))} not judged yet."
            raise
        settings = trained.width.settings(settled.settings)
        summary = summarise(settled, settings, run, trained.facts, time.monotonic() - watch.began)
        problem = pass_through(gates, summary)
        # The record keeps its own, fuller account of the dataset.
        run.update(**{**summary, "dataset": run.record()["dataset"]})
    _print_and_judge(summary, problem, as_json=json)


def _answer_again(
    run: "RunDirectory", summary: dict[str, Any], gates: list[Gate], fail_if: list[str] | None, *, as_json: bool
) -> None:
    """What a run came to that has ended; other gates than it was begun with are kept in it where they can be."""
    problem = pass_through(gates, summary)
    if fail_if and not resuming.keep_gates(run, fail_if, summary):
        from gipo_cli.rendering import terminal

        terminal.note(f"warning: {run.path} cannot be written; its gates there stay as they were.")
    _print_and_judge(summary, problem, as_json=as_json)


def _print_and_judge(summary: dict[str, Any], problem: SettingError | None, *, as_json: bool) -> None:
    from gipo_cli.rendering import terminal
    from gipo_cli.rendering.summary import print_summary

    if as_json:
        terminal.json_document(summary)
    else:
        print_summary(summary)
    enforce(summary.get("gates", ()), problem)


def _settle(config: Path | None, flags: dict[str, Any], named: list[tuple[str, Any]]) -> TrainConfig:
    """File, then flags, then --set."""
    values = read_toml(config, "--config: ") if config else {}
    return settle({**values, **flags}, named, str(config) if config else "gipo train")


def _absolute(path: Path | None) -> str | None:
    return None if path is None else str(path.resolve())


def _gates_are(count: int) -> str:
    return "1 gate is" if count == 1 else f"{count} gates are"
