"""`gipo advantages`."""

from typing import Annotated

import typer


def advantages(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False) -> None:
    """List the advantage estimators: formula, settings with their defaults, and source."""
    from gipo_cli.registry import ADVANTAGES
    from gipo_cli.rendering.listing import show

    show("advantages", ADVANTAGES, as_json=as_json)
