"""`gipo evaluate`: what a run's policy earns, in the environment or by the log alone, beside the behaviour policy."""

from pathlib import Path
from typing import Annotated, Any

import typer

from gipo_cli.commands import FailIf, evaluate_and_keep, keep
from gipo_cli.errors import SettingError
from gipo_cli.gates import enforce, parse_gates, pass_through


def evaluate(
    run: Annotated[Path, typer.Argument(help="Run directory.", show_default=False)],
    episodes: Annotated[
        int | None, typer.Option(min=1, help="Of each policy, in each mode. (default: 100)", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of starts and the policies' noise, or of the networks.")] = 0,
    environment: Annotated[
        str | None, typer.Option(help="Gymnasium's name; needed where the log names none.", show_default=False)
    ] = None,
    step: Annotated[
        int | None, typer.Option(help="Evaluate the checkpoint of this step. (default: the newest)")
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Estimate by the log alone, with an interval; no environment is needed.")
    ] = False,
    dataset: Annotated[
        str | None,
        typer.Option(help="With --offline: a log that trained nothing. (default: the run's held-out episodes)"),
    ] = None,
    level: Annotated[
        float | None, typer.Option(help="With --offline: of the intervals. (default: 0.95)", show_default=False)
    ] = None,
    discount: Annotated[
        float | None, typer.Option(help="With --offline: gamma. (default: the run's)", show_default=False)
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="With --offline: a setting of `gipo estimators`. Repeatable."),
    ] = None,
    fail_if: FailIf = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print no progress.")] = False,
) -> None:
    """Roll out a run's policy and the behaviour policy in the environment of the log, or judge it by the log alone.

    The result is kept in RUN/evaluation.json, where `gipo compare` finds it, or in RUN/offline.json.
    """
    from gipo_cli.runs import RunDirectory

    gates = parse_gates(fail_if)
    _refuse_other_flags(
        offline,
        {"episodes": episodes, "environment": environment},
        {"dataset": dataset, "level": level, "discount": discount, "set": set_ or None},
    )
    place = RunDirectory.open(run)
    if offline:
        given: dict[str, Any] = {"assignments": tuple(set_ or ()), **({} if level is None else {"level": level})}
        document = _by_the_log(
            place, {"dataset": dataset, "discount": discount, "step": step, "seed": seed, **given}, quiet
        )
    else:
        from gipo_cli.evaluation.run_evaluation import without_episodes

        found = evaluate_and_keep(place, environment, episodes or 100, seed=seed, step=step, quiet=quiet)
        document = without_episodes(found)
    problem = pass_through(gates, document)
    if json:
        from gipo_cli.rendering import terminal

        terminal.json_document(document)
    elif offline:
        from gipo_cli.rendering.offline import print_offline

        print_offline(document)
    else:
        _print(document)
    enforce(document.get("gates", ()), problem)


def _refuse_other_flags(offline: bool, rollouts: dict[str, Any], log: dict[str, Any]) -> None:
    """Refuse flags of the other way to evaluate, which would be silently without effect."""
    of_other = next((name for name, value in (rollouts if offline else log).items() if value is not None), None)
    if of_other and offline:
        raise SettingError(f"--{of_other} is of rollouts, and --offline makes none.", "Leave one of the two out.")
    if of_other:
        raise SettingError(f"--{of_other} is of an estimate by a log.", "Add --offline.")


def _by_the_log(place: Any, given: dict[str, Any], quiet: bool) -> dict[str, Any]:
    from gipo_cli.evaluation.offline_run import Asked, evaluate_offline
    from gipo_cli.rendering import terminal
    from gipo_cli.runs import OFFLINE

    def warn(text: str) -> None:
        terminal.note(f"warning: {text}")

    document = evaluate_offline(place, Asked(**given), None if quiet else terminal.progress, warn)
    keep(place, document, OFFLINE)
    return document


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
