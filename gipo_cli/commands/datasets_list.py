"""`gipo datasets list`: what there is to train on."""

from typing import Annotated

import typer


def datasets_list(json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False) -> None:
    """List the bundled logs."""
    import numpy as np

    from gipo_cli.data import catalog
    from gipo_cli.data.hdf5 import open_safely, read_column
    from gipo_cli.rendering import terminal

    entries = []
    for entry in catalog.ENTRIES.values():
        place, _ = catalog.locate(entry.name)
        with open_safely(place) as file:
            rewards = np.asarray(read_column(file, "rewards"), np.float64)
            ends = np.asarray(read_column(file, "terminals")) | np.asarray(read_column(file, "timeouts"))
        entries.append({
            "name": entry.name,
            "environment": entry.environment,
            "about": entry.about,
            "transitions": len(rewards),
            "episodes": int(ends.sum()),
            "mean_return": float(rewards.sum() / ends.sum()),
            "bytes": place.stat().st_size,
        })  # fmt: skip
    if json:
        terminal.json_document({"datasets": entries})
        return
    terminal.table(
        "",
        ["name", "environment", "steps", "episodes", "mean return", "MB", "about"],
        [
            [
                e["name"],
                e["environment"],
                e["transitions"],
                e["episodes"],
                e["mean_return"],
                e["bytes"] / 1e6,
                e["about"],
            ]
            for e in entries
        ],
    )
    terminal.line("")
    terminal.line("Your own: a path to an HDF5 file in D4RL's layout, or minari:ID of a dataset on this machine.")
