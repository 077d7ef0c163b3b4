"""`gipo estimators`."""

from typing import Annotated

import typer


def estimators(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False) -> None:
    """List what `gipo evaluate --offline` estimates a policy's value by: formula, settings, and source."""
    from gipo_cli.registry import ESTIMATORS
    from gipo_cli.rendering.listing import show

    show("estimators", ESTIMATORS, as_json=as_json)
