"""Members that were trained side by side as a person reads them, a line each."""

import shlex
from typing import Any

from gipo_cli.rendering import terminal

HEADS = ("member", "status", "verdict", "certified", "ESS", "KL", "surrogate lower", "gates")
SPARE = ("gates", "status", "KL")  # what a narrow terminal goes without


def print_ensemble(document: dict[str, Any]) -> None:
    """Print what `gipo train --seeds ... --json` prints as a table, and the commands that come next."""
    terminal.table(document["ensemble"], HEADS, [_row(member) for member in document["members"]], SPARE)
    terminal.line("")
    counts = ", ".join(f"{count} {status}" for status, count in sorted(document["counts"].items()))
    terminal.line(f"{len(document['members'])} members: {counts}, {document['seconds']:,.0f} s in all")
    place = shlex.quote(document["ensemble"])
    terminal.line("Compare them:  ", (f"gipo compare {place} --evaluate", "bold"))
    judged = next((member["run"] for member in document["members"] if member.get("verdict")), None)
    if judged is not None:
        terminal.line("Believe one?   ", (f"gipo inspect-weights {shlex.quote(judged)}", "bold"))


def _row(member: dict[str, Any]) -> list[Any]:
    held_out, certificate = member.get("held_out", {}), member.get("certificate", {})
    gates = member.get("gates") or []
    return [
        member["member"], member["status"], member.get("verdict"), certificate.get("certified"),
        held_out.get("ess_fraction"), held_out.get("kl"), held_out.get("surrogate_lower"),
        f"{sum(gate['held'] for gate in gates)}/{len(gates)}" if gates else None,
    ]  # fmt: skip


def print_plan(plan: dict[str, Any]) -> None:
    """Print what `gipo train --seeds ... --dry-run --json` prints: the members, and the settings that all have."""
    log, members = plan["dataset"], plan["members"]
    terminal.line(
        f"Would train on {log['name']} ({log['transitions']:,} steps, {log['episodes']:,} episodes) "
        f"{len(members)} members side by side into {plan['ensemble']}."
    )
    heads = ["member", "status", "step", "seed", "sigma"]
    terminal.table("", heads, [[member[name] for name in heads] for member in members])
    terminal.table("", ["setting", "value"], [[name, str(value)] for name, value in plan["config"].items()])
