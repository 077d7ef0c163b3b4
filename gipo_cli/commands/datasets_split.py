"""`gipo datasets split`: two logs from one, by whole episodes."""

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


def datasets_split(
    dataset: Annotated[str, typer.Argument(metavar="LOG", help="A catalog name, a path, or minari:ID.")],
    out: Annotated[str, typer.Option(help="New place of the share, in the format of its suffix.")],
    rest: Annotated[str, typer.Option(help="New place of the other episodes.")],
    fraction: Annotated[float, typer.Option(help="Share of the episodes; at least one stays on each side.")] = 0.9,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw.")] = 0,
    log_prob_key: LogProbKey = "",
    log_prob_convention: LogProbConvention = "",
    mapping: Mapping = None,
    repair: Repair = None,
    behaviour: Behaviour = None,
    estimate_behaviour: EstimateBehaviour = False,
    json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON document.")] = False,
    quiet: Quiet = False,
) -> None:
    """Split a log at random by whole episodes, which keep their order: one to train on, one that is never seen."""
    from gipo_cli.data.saving import Destination, history_of
    from gipo_cli.data.selection import split_episodes, take_episodes
    from gipo_cli.errors import SettingError
    from gipo_cli.rendering import terminal

    if not 0 < fraction < 1:
        raise SettingError(f"--fraction is {fraction:g}; expected a number between 0 and 1, such as 0.9.")
    options = log_options(log_prob_key, log_prob_convention, mapping, repair, behaviour, estimate_behaviour)
    places = [Destination(out), Destination(rest)]
    if places[0].path.absolute() == places[1].path.absolute():
        raise SettingError(f"--out and --rest are both {out}; expected two places.")
    log = read_log(dataset, options, quiet)
    warn_of_repairs(log, options)
    origin = history_of([log.source]) | {"split_fraction": fraction, "split_seed": seed}
    parts = [take_episodes(log, which) for which in split_episodes(log.episodes, fraction, seed)]
    places[0].save(parts[0], origin | {"split_part": "share"})
    try:
        places[1].save(parts[1], origin | {"split_part": "rest"})
    except BaseException:
        places[0].remove()  # half a split is none
        raise
    summary = [
        {
            "place": str(place.path),
            "fingerprint": part.fingerprint,
            "transitions": part.transitions,
            "episodes": part.episodes,
            "mean_return": float(part.episode_returns.mean()),
            "bytes": place.bytes,
        }
        for place, part in zip(places, parts, strict=True)
    ]
    if json:
        terminal.json_document({"parts": summary})
        return
    for name, part in zip(("share", "rest"), summary, strict=True):
        terminal.pairs([name, part["place"]], [[key, value] for key, value in part.items() if key != "place"])
