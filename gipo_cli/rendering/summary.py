"""A finished run as a person reads it."""

import shlex
from collections.abc import Mapping
from typing import Any

from gipo_cli.evaluation.environments import NAME
from gipo_cli.rendering import terminal

# A start may be better than the policy that made a stale log, and the trained one between the two.
AGAINST_THE_LOG = "better than the log's policy; whether better than the start that --init gave: evaluate --offline"


def print_summary(summary: dict[str, Any]) -> None:
    """Print what `gipo train --json` prints as a table, and the commands that come next."""
    terminal.table("", ["", summary["run"]], summary_rows(summary))
    terminal.line("")
    run = shlex.quote(summary["run"])
    terminal.line("Believe it?   ", (f"gipo inspect-weights {run}", "bold"))
    terminal.line("Better?       ", (f"gipo evaluate {run} --offline", "bold"), "   (by the log alone)")
    # The name is the log's, a stranger's perhaps: shown as a command only where it is a name and nothing else.
    found = NAME.fullmatch(summary["dataset"]["environment"] or "")
    if found is None:
        return
    if found["module"]:
        terminal.line(f"Worth it?     if the module {found['module']} is yours:")
        terminal.line("              ", (f"gipo evaluate {run} --environment {found[0]}", "bold"))
    else:
        terminal.line("Worth it?     ", (f"gipo evaluate {run}", "bold"), f"   ({found[0]})")


def summary_rows(summary: Mapping[str, Any]) -> list[list[str]]:
    """A name and what is to be said under it, a line each."""
    dataset, held_out, start = summary["dataset"], summary["held_out"], summary["warm_start"]
    settings, of_advantage = (
        ", ".join(f"{name} {value:g}" for name, value in summary[key].items())
        for key in ("settings", "advantage_settings")
    )
    return [
        ["log", f"{dataset['name']}: {dataset['transitions']:,} steps, {dataset['episodes']:,} episodes"],
        ["behaviour", f"mean return {dataset['mean_return']:,.0f}, log-probs {dataset['log_probs']}"],
        ["objective", f"{summary['objective']} ({settings or 'no settings'})"],
        ["started from", f"{start['kind']}{_version(start)}, {start['kl']:z.3f} nats from behaviour"],
        ["advantages", f"{summary['advantage']}{of_advantage and f' ({of_advantage})'}"],
        ["", f"explain {summary['critic']['explained']:.0%} of what held-out returns left open"],
        ["policy", f"{summary['steps']:,} updates, {summary['seconds']:,.0f} s in all"],
        *([["", "ended early: the held-out lower bound rose no more"]] if summary["ended_early"] else []),
        ["held out: ESS", f"{held_out['ess_fraction']:.0%} of the steps count"],
        ["held out: KL", f"{held_out['kl']:.2f} nats from behaviour"],
        ["held out: surrogate", f"{held_out['surrogate']:+.2f} standard deviations of the advantage"],
        ["kept", _kept(summary["certificate"])],
        *([["", AGAINST_THE_LOG]] if start["kind"] == "checkpoint" and summary["certificate"]["certified"] else []),
    ]


def _version(start: dict[str, Any]) -> str:
    """Which of several policies training started from; they are counted from 1, oldest first."""
    if start["version"] is None:
        return ""
    among = f" of {start['versions']}" if "versions" in start else ""  # what an older version did not write
    return f" of version {start['version'] + 1}{among}, which earned most"


def _kept(certificate: dict[str, Any]) -> str:
    if certificate["certified"]:
        older = f"THE POLICY OF STEP {certificate['kept_step']:,}, the newest borne out"
        return (
            f"{'the trained policy' if certificate['last']['certified'] else older}: lower bounds of explained return "
            f"{certificate['explained_lower']:.2f} and of surrogate {certificate['surrogate_lower']:+.2f} are above 0"
        )
    if certificate["kept"] == "trained policy":
        return f"the trained policy, as asked, though {certificate['reason']}"
    return f"THE STARTING POLICY: no improvement can be certified, {certificate['reason']}"
