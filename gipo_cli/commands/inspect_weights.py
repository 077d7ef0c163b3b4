"""`gipo inspect-weights`: how far the importance weights of a run can be trusted."""

from pathlib import Path
from typing import Annotated

import typer

from gipo_cli.commands import FailIf, refuse_picture, write_picture
from gipo_cli.gates import enforce, parse_gates, pass_through


def inspect_weights(
    run: Annotated[Path, typer.Argument(help="Run directory.", show_default=False)],
    plot: Annotated[Path | None, typer.Option(help="Draw them, as FILE.png.", show_default=False)] = None,
    force: Annotated[bool, typer.Option("--force", help="Let --plot replace a file.")] = False,
    fail_if: FailIf = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show the importance weights of a run, and whether to trust what was learned from them."""
    from gipo_cli.rendering import terminal
    from gipo_cli.reports.weights import inspect_run
    from gipo_cli.runs import RunDirectory

    gates = parse_gates(fail_if)
    if plot is not None:
        refuse_picture(plot, force)
    found = inspect_run(RunDirectory.open(run))
    document = found.document
    problem = pass_through(gates, document)
    if plot is not None:
        from gipo_cli.rendering import plots

        content = plots.weights_picture(found.weights, document, found.objective, found.settings)
        write_picture(plot, content)
    if json:
        terminal.json_document(document)
    else:
        from gipo_cli.rendering.inspection import print_inspection

        print_inspection(found.weights, document, found.objective, found.settings)
    if plot is not None:
        terminal.note(f"wrote {plot}")
    enforce(document.get("gates", ()), problem)
