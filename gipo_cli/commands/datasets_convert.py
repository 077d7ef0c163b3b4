"""`gipo datasets convert`: the same log in another format."""

from typing import Annotated

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


def datasets_convert(
    dataset: Annotated[str, typer.Argument(metavar="IN", help="A catalog name, a path, or minari:ID.")],
    out: Annotated[str, typer.Argument(metavar="OUT", help="A new file or directory, or minari:ID.")],
    format_name: Annotated[
        str, typer.Option("--format", help="d4rl, minari, npz or parquet; from the suffix of OUT unless given.")
    ] = "",
    log_prob_key: LogProbKey = "",
    log_prob_convention: LogProbConvention = "",
    mapping: Mapping = None,
    repair: Repair = None,
    behaviour: Behaviour = None,
    estimate_behaviour: EstimateBehaviour = False,
    json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON document.")] = False,
    quiet: Quiet = False,
) -> None:
    """Write a log in another format, and read it back: all that training depends on is the same, or it is not kept."""
    from gipo_cli.data.saving import Destination, history_of
    from gipo_cli.rendering import terminal

    options = log_options(log_prob_key, log_prob_convention, mapping, repair, behaviour, estimate_behaviour)
    destination = Destination(out, format_name)
    log = read_log(dataset, options, quiet)
    warn_of_repairs(log, options)
    if not quiet:
        terminal.note(f"writing {log.transitions:,} steps as {destination.format}, then reading them back")
    destination.save(log, history_of([log.source]))
    summary = {
        "place": str(destination.path),
        "format": destination.format,
        "fingerprint": log.fingerprint,
        "transitions": log.transitions,
        "episodes": log.episodes,
        "log_probs": log.log_probs_origin,
        "bytes": destination.bytes,
        "notes": list(log.notes),
    }
    if json:
        terminal.json_document(summary)
        return
    rows = [[name, value] for name, value in summary.items() if name not in ("place", "notes")]
    terminal.pairs(["written", summary["place"]], [*rows, *(["note", note] for note in log.notes)])
