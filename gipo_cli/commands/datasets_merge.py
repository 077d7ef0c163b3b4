"""`gipo datasets merge`: several logs as one."""

from typing import Annotated, Literal

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
    warn_of_repairs,
)


def datasets_merge(
    datasets: Annotated[list[str], typer.Argument(metavar="LOG...", help="Catalog names, paths, or minari:ID.")],
    out: Annotated[str, typer.Option(help="New place, in the format of its suffix.")],
    versions: Annotated[
        Literal["keep", "number"],
        typer.Option(help="Keep the policy versions that all logs have, or number the logs 0, 1, ..."),
    ] = "keep",
    log_prob_key: LogProbKey = "",
    log_prob_convention: LogProbConvention = "",
    mapping: Mapping = None,
    repair: Repair = None,
    behaviour: Behaviour = None,
    estimate_behaviour: EstimateBehaviour = False,
    json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON document.")] = False,
    quiet: Quiet = False,
) -> None:
    """Lay logs of one environment and one convention end to end."""
    from gipo_cli.data.saving import Destination, history_of
    from gipo_cli.data.selection import concatenate
    from gipo_cli.errors import SettingError
    from gipo_cli.rendering import terminal

    if len(datasets) < 2:
        raise SettingError(f"there is one log to merge, {datasets[0]}; expected two or more.")
    options = log_options(log_prob_key, log_prob_convention, mapping, repair, behaviour, estimate_behaviour)
    destination = Destination(out)
    logs = [read_log(dataset, options, quiet) for dataset in datasets]
    for log in logs:
        warn_of_repairs(log, options)
    log = concatenate(logs, destination.path.stem, versions)
    destination.save(log, history_of(part.source for part in logs) | {"versions": versions})
    summary = {
        "place": str(destination.path),
        "fingerprint": log.fingerprint,
        "transitions": log.transitions,
        "episodes": log.episodes,
        "mean_return": float(log.episode_returns.mean()),
        "policy_versions": log.policy_versions is not None,
        "behaviour_weights": log.behaviour_weights is not None,
        "log_probs": log.log_probs_origin,
        "bytes": destination.bytes,
        "notes": list(log.notes),
    }
    if json:
        terminal.json_document(summary)
        return
    rows = [[name, value] for name, value in summary.items() if name not in ("place", "notes")]
    terminal.pairs(["merged", summary["place"]], [*rows, *(["note", note] for note in log.notes)])
