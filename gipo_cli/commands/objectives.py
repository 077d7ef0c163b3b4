"""`gipo objectives`."""

from typing import Annotated

import typer


def objectives(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False) -> None:
    """List the objectives: formula, settings with their defaults, and source."""
    from gipo_cli.objectives.settings import settings_of
    from gipo_cli.registry import OBJECTIVES
    from gipo_cli.rendering.terminal import json_document, table

    entries = []
    for name in OBJECTIVES.places:
        objective = OBJECTIVES.load(name)
        lines = (objective.__doc__ or "").splitlines()
        formula = next((text.strip() for text in lines if text.strip().startswith("loss = ")), "")
        source = next((text.strip()[8:] for text in lines if text.strip().startswith("Source: ")), "")
        entries.append({"name": name, "formula": formula, "settings": settings_of(objective), "source": source})
    if as_json:
        json_document({"objectives": entries})
        return
    shown = [
        (e["name"], e["formula"], ", ".join(f"{k}={v}" for k, v in e["settings"].items()), e["source"]) for e in entries
    ]
    table("", ("name", "formula", "settings", "source"), shown)
