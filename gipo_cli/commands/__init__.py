"""One file per command; heavy imports inside the function body. Here: what several of them share."""

import os
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gipo_cli.errors import SettingError

if TYPE_CHECKING:
    from gipo_cli.data.options import LogOptions
    from gipo_cli.data.trajectories import Trajectories
    from gipo_cli.runs import RunDirectory

LogProbKey = Annotated[
    str, typer.Option(metavar="NAME", help="Column that holds the log-probs, where it has an unusual name.")
]
TORCHRUN = ("TORCHELASTIC_RUN_ID", "RANK", "WORLD_SIZE", "LOCAL_RANK", "GROUP_RANK")  # of the environment

LogProbConvention = Annotated[
    str,
    typer.Option(
        metavar="DENSITY", help="gaussian, tanh_gaussian, categorical or multi_categorical, whatever the file says."
    ),
]
Mapping = Annotated[
    Path | None, typer.Option(metavar="FILE.toml", help="Which column of a table is which.", show_default=False)
]
Repair = Annotated[
    list[str] | None,
    typer.Option(metavar="NAMES", help="Repairs to apply, comma-separated; `gipo datasets check` names them."),
]
Behaviour = Annotated[
    Path | None,
    typer.Option(
        metavar="POLICY",
        help="Recompute log-probs exactly from a run, a checkpoint, a .safetensors or a Stable-Baselines3 .zip.",
        show_default=False,
    ),
]
EstimateBehaviour = Annotated[
    bool, typer.Option("--estimate-behaviour", help="Clone the behaviour policy where the log has no log-probs.")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print no progress.")]
FailIf = Annotated[
    list[str] | None,
    typer.Option(
        metavar="EXPRESSION",
        help="Exit with code 4 where this is true of the result, as in 'held_out.ess_fraction < 0.3': a key of the "
        "--json document, an operator, a value. Repeatable.",
        show_default=False,
    ),
]
MaxTimeExit = Annotated[
    int | None, typer.Option(metavar="CODE", help="Exit code where --max-time ends the command. (default: 0)")
]
Accept = Annotated[
    list[str] | None,
    typer.Option(metavar="NAMES", help="Take these errors of the checks as warnings, comma-separated."),
]


def as_one_of_ranks(command: Callable[..., None]) -> Callable[..., None]:
    """A command that torchrun may start several times over, to do one job; without torchrun it is left as it is."""

    @wraps(command)
    def run(*arguments: Any, **named: Any) -> None:
        if not has_ranks():
            command(*arguments, **named)
            return
        began = time.monotonic()
        from gipo_cli.training.distributed import joined

        with joined(began):
            command(*arguments, **named)

    return run


def has_ranks() -> bool:
    """Whether torchrun started this process."""
    return all(name in os.environ for name in TORCHRUN)


def is_first_rank() -> bool:
    """Whether this process speaks for the job; one that is alone does."""
    return not has_ranks() or os.environ["RANK"] == "0"


def command_began() -> float:
    """When the command began, by the monotonic clock; waiting for other ranks is part of it."""
    if not has_ranks():
        return time.monotonic()
    from gipo_cli.training.distributed import current

    return current().began or time.monotonic()


def split_names(values: list[str] | None) -> tuple[str, ...]:
    """Names given as `a,b`, as repeated flags, or both."""
    return tuple(name.strip() for value in values or () for name in value.split(",") if name.strip())


def log_options(
    log_prob_key: str,
    log_prob_convention: str,
    mapping: Path | None,
    repair: list[str] | None,
    behaviour: Path | None,
    estimate_behaviour: bool,
) -> "LogOptions":
    """The flags above, as what opens a log.

    Raises:
        SettingError: one of them names nothing that there is.
    """
    from gipo_cli.data.options import LogOptions

    return LogOptions(
        log_prob_key=log_prob_key,
        log_prob_convention=log_prob_convention,
        mapping=str(mapping or ""),
        repair=split_names(repair),
        behaviour=str(behaviour or ""),
        estimate_behaviour=estimate_behaviour,
    )


def read_log(dataset: str, options: "LogOptions", quiet: bool) -> "Trajectories":
    """A log as the flags ask for it, unchecked; what takes long shows its progress unless quiet.

    Raises:
        SettingError, DataError: as `logs.prepare`.
    """
    from gipo_cli.data import catalog
    from gipo_cli.logs import prepare
    from gipo_cli.rendering import terminal

    catalog.locate(dataset, quiet)  # recorded here where it has to be
    return prepare(dataset, options, None if quiet else terminal.progress)[0]


def warn_of_repairs(log: "Trajectories", options: "LogOptions") -> None:
    """Say on stderr what is wrong with a log that was mended: a repair that was not needed spoils what was right."""
    from gipo_cli.data.checks import check
    from gipo_cli.rendering import terminal

    for finding in check(log) if options.repair else ():
        if finding.severity == "error":
            terminal.note(f"after --repair {','.join(options.repair)}: {finding.meaning} [{finding.name}]")


def evaluate_and_keep(
    run: "RunDirectory", environment: str | None, episodes: int, *, seed: int, step: int | None, quiet: bool
) -> dict[str, Any]:
    """Roll out a run's policies and keep what was found in the run directory; what cannot be kept is said on stderr.

    Raises:
        SettingError, RunError, DataError: as `evaluate_run`.
    """
    from contextlib import nullcontext

    from gipo_cli.evaluation.run_evaluation import evaluate_run
    from gipo_cli.rendering import terminal
    from gipo_cli.runs import EVALUATION

    def watch(total: int) -> Any:
        return nullcontext(lambda n=1: None) if quiet else terminal.progress(f"episodes, {run.path.name}", total)

    def warn(text: str) -> None:
        terminal.note(f"warning: {text}")

    document = evaluate_run(run, environment, episodes, seed=seed, step=step, watch=watch, warn=warn)
    keep(run, document, EVALUATION)
    return document


def keep(run: "RunDirectory", document: dict[str, Any], name: str) -> None:
    """Write what was found into the run; what cannot be kept is said on stderr, since it is printed all the same."""
    from gipo_cli.rendering import terminal

    try:
        run.write_evaluation(document, name)
    except OSError as error:
        terminal.note(
            f"warning: {name} could not be kept in {run.path} ({error.strerror}); other commands will not find it."
        )


def refuse_picture(path: Path, force: bool) -> None:
    """Refuse a place for --plot before any work is done for the picture."""
    if path.is_dir():  # as is "", which has no name to give a suffix
        raise SettingError(f"{path} is a directory.", "Name a file for --plot.")
    if path.suffix != ".png":
        raise SettingError(f"--plot writes PNG pictures, not '{path.name}'.", f"Name it {path.with_suffix('.png')}.")
    if path.exists() and not force:
        raise SettingError(f"{path} exists.", "Add --force to replace it, or name another file.")
    if not path.parent.is_dir():
        raise SettingError(f"there is no directory {path.parent} for the picture.", f"Make it: mkdir -p {path.parent}")


def write_picture(path: Path, content: bytes) -> None:
    """Write a picture whole or not at all."""
    from gipo_cli import durable

    try:
        durable.write(path, content)
    except OSError as error:
        raise SettingError(f"{path} cannot be written ({error.strerror}).", "Name another file for --plot.") from error


def places_of(given: list[str]) -> "list[RunDirectory]":
    """Every run that was named, once."""
    from gipo_cli.rendering import terminal
    from gipo_cli.runs import RunDirectory, find_runs

    found: dict[Path, Path] = {}
    for path in (path for name in given for path in find_runs(name)):
        if path.resolve() in found:
            terminal.note(f"note: {path} was given twice; it counts once.")
        found.setdefault(path.resolve(), path)
    return [RunDirectory.open(path) for path in found.values()]
