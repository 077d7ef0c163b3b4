"""`gipo compare`: runs side by side, over seeds, objectives and logs."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gipo_cli.commands import FailIf, Quiet, evaluate_and_keep, places_of, refuse_picture, split_names, write_picture
from gipo_cli.errors import SettingError
from gipo_cli.gates import enforce, parse_gates, pass_through

if TYPE_CHECKING:
    from gipo_cli.evaluation.results import RunResult
    from gipo_cli.runs import RunDirectory

EPISODES = 100


def compare(
    runs: Annotated[
        list[str], typer.Argument(help="Run directories, directories that hold runs, or globs.", show_default=False)
    ],
    by: Annotated[
        list[str] | None,
        typer.Option(metavar="NAMES", help="Settings that make a method. (default: objective, and what differs)"),
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(metavar="METHOD", help="What others are to improve on. (default: the first)")
    ] = None,
    evaluate: Annotated[
        bool, typer.Option("--evaluate", help="Roll out runs whose last checkpoint has not been evaluated.")
    ] = False,
    episodes: Annotated[
        int | None, typer.Option(min=1, help=f"Of each policy, in each mode, with --evaluate. (default: {EPISODES})")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw them, as FILE.png.", show_default=False)] = None,
    force: Annotated[bool, typer.Option("--force", help="Let --plot replace a file.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown tables.")] = False,
    fail_if: FailIf = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    quiet: Quiet = False,
) -> None:
    """Compare runs by method and log, seeds together, from what `gipo evaluate` kept in them.

    A method is an objective and whatever settings differ between the runs given. Needs no environment.
    """
    gates = parse_gates(fail_if)
    if markdown and json:
        raise SettingError("--markdown and --json both print the result.", "Give one of them.")
    if episodes is not None and not evaluate:
        raise SettingError("--episodes is for the rollouts of --evaluate.", "Add --evaluate, or leave it out.")
    if plot is not None:
        refuse_picture(plot, force)

    from gipo_cli.evaluation.comparison import compare as compare_results
    from gipo_cli.evaluation.results import read_result
    from gipo_cli.rendering import comparison, terminal

    places = places_of(runs)
    results = [read_result(place) for place in places]
    compare_results(results, split_names(by), baseline)  # refused here, before any rollout
    if evaluate:
        results = [
            _evaluated(place, found, episodes or EPISODES, quiet)
            for place, found in zip(places, results, strict=True)
        ]  # fmt: skip
    document = compare_results(results, split_names(by), baseline)
    problem = pass_through(gates, document)
    if plot is not None:
        from gipo_cli.rendering import plots

        write_picture(plot, plots.comparison_picture(document))
    if json:
        terminal.json_document(document)
    elif markdown:
        print(comparison.markdown(document))
    else:
        comparison.print_comparison(document)
    for note in document["notes"] if not (json or markdown) else ():
        terminal.note(f"note: {note}")
    if plot is not None:
        terminal.note(f"wrote {plot}")
    enforce(document.get("gates", ()), problem)


def _evaluated(place: "RunDirectory", found: "RunResult", episodes: int, quiet: bool) -> "RunResult":
    """A run with the evaluation of its last checkpoint, made now where it has none."""
    from gipo_cli.evaluation.results import read_result

    if found.current is not None or not found.finished:
        return found
    return read_result(place, evaluate_and_keep(place, None, episodes, seed=0, step=None, quiet=quiet))
