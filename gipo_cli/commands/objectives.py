"""`gipo objectives`."""

from typing import Annotated

import typer


def objectives(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False) -> None:
    """List the objectives: formula, settings with their defaults, and source."""
    from gipo_cli.registry import OBJECTIVES
    from gipo_cli.rendering.listing import show

    show("objectives", OBJECTIVES, as_json=as_json)
