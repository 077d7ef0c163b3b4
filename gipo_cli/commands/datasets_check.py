"""`gipo datasets check`: what is wrong with a log, and what mends it."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from gipo_cli.commands import (
    Behaviour,
    EstimateBehaviour,
    FailIf,
    LogProbConvention,
    LogProbKey,
    Mapping,
    Repair,
    log_options,
)
from gipo_cli.errors import ExitCode
from gipo_cli.gates import enforce, parse_gates, pass_through

if TYPE_CHECKING:
    from gipo_cli.data.findings import Finding


def datasets_check(
    dataset: Annotated[str, typer.Argument(help="A catalog name, a path, or minari:ID.", show_default=False)],
    log_prob_key: LogProbKey = "",
    log_prob_convention: LogProbConvention = "",
    mapping: Mapping = None,
    repair: Repair = None,
    behaviour: Behaviour = None,
    estimate_behaviour: EstimateBehaviour = False,
    fail_if: FailIf = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print no progress.")] = False,
) -> None:
    """Check a log before training on it: exit code 3 if something is wrong. `train` runs the same checks."""
    from gipo_cli.data.checks import check
    from gipo_cli.logs import prepare
    from gipo_cli.rendering import terminal

    gates = parse_gates(fail_if)
    options = log_options(
        log_prob_key, log_prob_convention, mapping, repair, behaviour, estimate_behaviour
    )  # fmt: skip
    progress = None if quiet else lambda name, total: terminal.progress(name, total)
    log, estimate = prepare(dataset, options, progress)
    findings = check(log)
    if log.log_probs_origin == "none":
        findings = [_no_log_probs(), *findings]
    errors = sum(finding.severity == "error" for finding in findings)
    document = {
        "log": log.name,
        "fingerprint": log.fingerprint,
        "transitions": log.transitions,
        "episodes": log.episodes,
        "log_probs": {"origin": log.log_probs_origin, "convention": log.convention},
        "repairs": list(log.repairs),
        "notes": list(log.notes),
        "estimate": estimate,
        "findings": [asdict(finding) for finding in findings],
        "errors": errors,
        "warnings": sum(finding.severity == "warning" for finding in findings),
    }
    problem = pass_through(gates, document)
    if json:
        terminal.json_document(document)
    else:
        _print(document, findings)
    if errors:
        raise typer.Exit(int(ExitCode.DATA))
    enforce(document.get("gates", ()), problem)


def _no_log_probs() -> "Finding":
    from gipo_cli.data.findings import Finding

    return Finding(
        "no-log-probs", "error", 0.0, "the log has no log-probs of the behaviour policy.",
        "no importance ratio can be formed.",
        hint="--log-prob-key NAME, --behaviour POLICY or --estimate-behaviour",
    )  # fmt: skip


def _print(document: dict, findings: "list[Finding]") -> None:
    from gipo_cli.rendering import terminal

    origin = document["log_probs"]
    terminal.line(
        f"{document['log']}: {document['transitions']:,} steps, {document['episodes']:,} episodes, "
        f"{origin['convention']} log-probs, {origin['origin']}"
    )
    for note in document["notes"]:
        terminal.line(f"note     {note}")
    for finding in findings:
        style = {"ok": "green", "warning": "yellow", "error": "bold red"}[finding.severity]
        terminal.line((f"{finding.severity:<8}", style), f" {finding.name}: {finding.meaning}")
        if finding.effect:
            terminal.line(f"         Trained on as it is: {finding.effect}")
        if finding.repair:
            terminal.line(f"         Mends it exactly: --repair {finding.repair}")
        for hint in finding.hint.splitlines():
            terminal.line(f"         {hint}")
    terminal.line("")
    terminal.line(f"{document['errors']} errors, {document['warnings']} warnings")
