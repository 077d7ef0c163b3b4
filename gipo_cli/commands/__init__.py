"""One file per command; heavy imports inside the function body. Here: the flags that every command over a log has."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from gipo_cli.data.options import LogOptions

LogProbKey = Annotated[
    str, typer.Option(metavar="NAME", help="Column that holds the log-probs, where it has an unusual name.")
]
LogProbConvention = Annotated[
    str, typer.Option(metavar="DENSITY", help="gaussian, tanh_gaussian or categorical, where the file does not say.")
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
    typer.Option(metavar="POLICY", help="Recompute log-probs exactly from this policy file.", show_default=False),
]
EstimateBehaviour = Annotated[
    bool, typer.Option("--estimate-behaviour", help="Clone the behaviour policy where the log has no log-probs.")
]

Accept = Annotated[
    list[str] | None,
    typer.Option(metavar="NAMES", help="Take these errors of the checks as warnings, comma-separated."),
]


def log_options(
    log_prob_key: str,
    log_prob_convention: str,
    mapping: Path | None,
    repair: list[str] | None,
    behaviour: Path | None,
    estimate_behaviour: bool,
    accept: list[str] | None = None,
) -> "LogOptions":
    """The flags above as one record."""
    from gipo_cli.data.options import LogOptions

    return LogOptions(
        log_prob_key=log_prob_key, log_prob_convention=log_prob_convention, mapping=str(mapping or ""),
        repair=split_names(repair), behaviour=str(behaviour or ""), estimate_behaviour=estimate_behaviour,
        accept=split_names(accept),
    )  # fmt: skip


def split_names(values: list[str] | None) -> tuple[str, ...]:
    """Names given as `a,b`, as repeated flags, or both."""
    return tuple(name.strip() for value in values or () for name in value.split(",") if name.strip())
