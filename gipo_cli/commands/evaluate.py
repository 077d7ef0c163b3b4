"""`gipo evaluate`: what a run's policy earns in the environment, beside the behaviour policy."""

from pathlib import Path
from typing import Annotated, Any

import typer

from gipo_cli.commands import FailIf, evaluate_and_keep
from gipo_cli.gates import enforce, parse_gates, pass_through


def evaluate(
    run: Annotated[Path, typer.Argument(help="Run directory.", show_default=False)],
    episodes: Annotated[int, typer.Option(min=1, help="Of each policy, in each mode.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Of starts and of the policies' noise.")] = 0,
    environment: Annotated[
        str | None, typer.Option(help="Gymnasium's name; needed where the log names none.", show_default=False)
    ] = None,
    step: Annotated[
        int | None, typer.Option(help="Evaluate the checkpoint of this step. (default: the newest)")
    ] = None,
    fail_if: FailIf = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print no progress.")] = False,
) -> None:
    """Roll out a run's policy and the behaviour policy in the environment of the log.

    The result is kept in RUN/evaluation.json, where `gipo compare` finds it.
    """
    from gipo_cli.evaluation.run_evaluation import without_episodes
    from gipo_cli.rendering import terminal
    from gipo_cli.runs import RunDirectory

    gates = parse_gates(fail_if)
    place = RunDirectory.open(run)
    document = without_episodes(evaluate_and_keep(place, environment, episodes, seed=seed, step=step, quiet=quiet))
    problem = pass_through(gates, document)
    if json:
        terminal.json_document(document)
    else:
        _print(document)
    enforce(document.get("gates", ()), problem)


def _print(document: dict[str, Any]) -> None:
    from gipo_cli.rendering import terminal

    rows = []
    for name in ("policy", "behaviour"):
        for mode, found in (document[name] or {}).items():
            error = found["standard_error"]
            points = found["score"]
            rows.append([
                name, mode, f"{found['mean']:,.0f}" + ("" if error is None else f" ± {error:,.0f}"),
                "–" if points is None else f"{points:.1f}", f"{found['mean_length']:,.0f}", str(found["episodes"]),
            ])  # fmt: skip
    terminal.table(
        f"{document['environment']}: mean return ± standard error",
        ["", "actions", "return", "D4RL score", "length", "episodes"],
        rows,
    )
    gain = document["gain"]
    if gain is None:
        terminal.line("The log carries no behaviour policy to compare with.")
    elif gain["lower"] is not None:
        word = "better" if gain["lower"] > 0 else "worse" if gain["upper"] < 0 else "no difference that can be seen"
        interval = f"{gain['mean']:+,.0f}, 95 % interval {gain['lower']:+,.0f} to {gain['upper']:+,.0f}"
        terminal.line("Gain over behaviour, sampled actions: ", (interval, "bold"), f" ({word})")
