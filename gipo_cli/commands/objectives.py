"""`gipo objectives`."""

from typing import Annotated, Any

import typer


def objectives(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False) -> None:
    """List the objectives: formula, settings with their defaults, and source."""
    from gipo_cli.objectives.settings import settings_of
    from gipo_cli.registry import OBJECTIVES
    from gipo_cli.rendering.terminal import json_document

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
    for i, entry in enumerate(entries):
        _print(entry, first=i == 0)


def _print(entry: dict[str, Any], *, first: bool) -> None:
    """One objective as a paragraph: formulas are too wide for the cells of a table."""
    from textwrap import wrap

    from gipo_cli.rendering.terminal import line

    if not first:
        line("")
    settings = ", ".join(f"{name}={value:g}" for name, value in entry["settings"].items()) or "no settings"
    line((entry["name"].ljust(15), "bold"), settings)
    for text in wrap(entry["formula"], 76, subsequent_indent="    ") + wrap(entry["source"], 76):
        line(f"  {text}")
