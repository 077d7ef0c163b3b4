"""`gipo datasets list`: what there is to train on."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from gipo_cli.data.catalog import Entry

HEADS = ("name", "environment", "here", "steps", "episodes", "mean return", "MB", "about")
SPARE = ("about", "MB", "episodes", "steps", "here", "mean return")  # in a narrow terminal; the first one goes first


def datasets_list(json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False) -> None:
    """List the logs of the catalog: bundled, recorded on this machine, or recorded on first use."""
    from gipo_cli.data import catalog
    from gipo_cli.rendering import terminal

    entries = [_figures(entry, catalog.place_of(entry)) for entry in catalog.ENTRIES.values()]
    if json:
        terminal.json_document({"datasets": entries})
        return
    rows = [
        [
            e["name"], e["environment"], e["state"], e["transitions"], e["episodes"], e["mean_return"],
            None if e["bytes"] is None else e["bytes"] / 1e6, e["about"],
        ]
        for e in entries
    ]  # fmt: skip
    terminal.table("", HEADS, rows, SPARE)
    terminal.line("")
    terminal.line("What will be recorded is, on first use: about a minute each, with pip install 'gipo[mujoco]'.")
    terminal.line(
        "Your own: a path to a log of any format that the README lists, minari:ID, or d4rl:NAME of one fetched."
    )


def _figures(entry: "Entry", place: Path | None) -> dict[str, Any]:
    figures: dict[str, Any] = {
        "name": entry.name,
        "environment": entry.environment,
        "about": entry.about,
        "state": "will be recorded" if place is None else "bundled" if entry.bundled else "recorded",
        "file": None if place is None else str(place),
        "transitions": None,
        "episodes": None,
        "mean_return": None,
        "bytes": None,
    }
    if place is None:
        return figures
    import numpy as np

    from gipo_cli.data.hdf5 import open_safely, read_column

    with open_safely(place) as file:
        rewards = np.asarray(read_column(file, "rewards"), np.float64)
        ends = np.asarray(read_column(file, "terminals")) | np.asarray(read_column(file, "timeouts"))
    return figures | {
        "transitions": len(rewards),
        "episodes": int(ends.sum()),
        "mean_return": float(rewards.sum() / ends.sum()),
        "bytes": place.stat().st_size,
    }
