"""`gipo datasets info`: what one log holds."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gipo_cli.commands import (
    Behaviour,
    EstimateBehaviour,
    LogProbConvention,
    LogProbKey,
    Mapping,
    Quiet,
    Repair,
    log_options,
    read_log,
    refuse_picture,
    write_picture,
)

if TYPE_CHECKING:
    import h5py
    import numpy as np

    from gipo_cli.data.trajectories import Trajectories

NO_FIGURES = ("length", "shape")  # findings on a log of which no mean can be taken
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def datasets_info(
    dataset: Annotated[str, typer.Argument(help="A catalog name, a path, or minari:ID.", show_default=False)],
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw returns, lengths and log-probs.", show_default=False)
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Let --plot replace a file.")] = False,
    log_prob_key: LogProbKey = "",
    log_prob_convention: LogProbConvention = "",
    mapping: Mapping = None,
    repair: Repair = None,
    behaviour: Behaviour = None,
    estimate_behaviour: EstimateBehaviour = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    quiet: Quiet = False,
) -> None:
    """Show what a log holds, and what is doubtful about it."""
    from gipo_cli.data.checks import check
    from gipo_cli.logs import refusal
    from gipo_cli.rendering import terminal

    if plot is not None:
        refuse_picture(plot, force)
    options = log_options(log_prob_key, log_prob_convention, mapping, repair, behaviour, estimate_behaviour)
    log = read_log(dataset, options, quiet)
    findings = [finding for finding in check(log) if finding.severity != "ok"]
    for finding in findings:
        if finding.name in NO_FIGURES:
            raise refusal(log, finding, dataset)
    document = _document(log, findings)
    if plot is not None:
        from gipo_cli.rendering import plots

        write_picture(plot, plots.log_picture(log))
    if json:
        terminal.json_document(document)
    else:
        rows = [[key, _shown(value)] for key, value in document.items() if key not in ("name", "findings")]
        terminal.table("", ["log", log.name], rows)
    if plot is not None and not quiet:
        terminal.note(f"wrote {plot}")


def _document(log: "Trajectories", findings: list[Any]) -> dict[str, Any]:
    none = log.log_probs_origin == "none"
    versions = log.policy_versions
    return {
        "name": log.name,
        "source": log.source,
        "fingerprint": log.fingerprint,
        "environment": log.environment,
        "transitions": log.transitions,
        "episodes": log.episodes,
        "observation_shape": list(log.observations.shape[1:]),
        "actions": _actions(log),
        "returns": _spread(log.episode_returns),
        "lengths": _spread(log.episode_lengths),
        "terminated": int(log.terminated.sum()),
        "truncated": int(log.truncated.sum()),
        "log_probs": {
            "origin": log.log_probs_origin,
            "convention": log.convention,
            **({} if none else _spread(log.behaviour_log_probs)),
        },
        "policy_versions": None if versions is None else _versions(versions),
        "pre_squash_actions": log.pre_squash_actions is not None,
        "executed_actions": log.executed_actions is not None,
        "behaviour_weights": log.behaviour_weights is not None,
        "repairs": list(log.repairs),
        "attributes": _attributes(log.source),
        "notes": list(log.notes),
        "findings": [vars(finding) for finding in findings],
        "warnings": [finding.meaning for finding in findings],
    }


def _actions(log: "Trajectories") -> str | list[int]:
    """Choices of a step, those of each dimension as in 256 x 256, or the shape of a continuous action."""
    space = log.action_space
    return f"{' x '.join(map(str, space.dimensions))} choices" if space.is_discrete else list(space.shape)


def _versions(versions: "np.ndarray") -> dict[str, int | float]:
    import numpy as np

    return {"count": len(np.unique(versions)), "min": versions.min().item(), "max": versions.max().item()}


def _spread(column: "np.ndarray") -> dict[str, float | int]:
    """Mean, deviation, range and quantiles; only how many there are of numbers that are not finite."""
    import numpy as np

    unknown = int((~np.isfinite(column)).sum())
    if unknown:
        return {"not_finite": unknown}
    numbers = {name: float(getattr(column, name)()) for name in ("mean", "std", "min", "max")}
    found = np.quantile(np.asarray(column, np.float64), QUANTILES)
    return numbers | {f"q{share * 100:02.0f}": float(value) for share, value in zip(QUANTILES, found, strict=True)}


def _attributes(source: str) -> dict[str, Any]:
    """What the file says of its own making; nothing where it is not one file."""
    from gipo_cli.data.hdf5 import is_hdf5, open_safely

    if not is_hdf5(Path(source)):
        return {}
    with open_safely(Path(source)) as file:
        return {name: _attribute(file, name) for name in sorted(file.attrs)}


def _attribute(file: "h5py.File", name: str) -> str | float | int | None:
    import numpy as np

    from gipo_cli.data.hdf5 import attribute

    value = attribute(file, name)
    if not isinstance(value, float):
        return value
    stored = np.asarray(file.attrs[name])  # a number, and small, or it would not have been one
    return value if stored.dtype.kind == "f" else stored.item()


def _shown(value: Any) -> str:
    from gipo_cli.rendering.terminal import cell_text

    if isinstance(value, dict):
        return ", ".join(f"{key} {cell_text(item)}" for key, item in value.items()) or "–"
    if isinstance(value, list):
        return ", ".join(map(cell_text, value)) or "–"
    return cell_text(value)
