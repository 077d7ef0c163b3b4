"""What an ensemble comes to: a summary of each member, one document of all, and the exit code."""

import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gipo_cli.ensemble.stacked import Member
from gipo_cli.ensemble.standing import Standing, status_of
from gipo_cli.errors import DivergedError, RunError, SettingError
from gipo_cli.gates import Gate, GateError, pass_through
from gipo_cli.rendering import terminal
from gipo_cli.rendering.ensemble import print_ensemble
from gipo_cli.rendering.watch import Watch
from gipo_cli.reports.weights import inspect_run
from gipo_cli.runs import RunDirectory
from gipo_cli.summary import summarise
from gipo_cli.training import resuming

SHOWN = 10  # members that an error names


class Outcome:
    """The members' summaries, as they come to them."""

    def __init__(self, place: Path, standing: Sequence[Standing], gates: list[Gate], watch: Watch) -> None:
        self.place, self.gates, self.watch = place, gates, watch
        self.problem: SettingError | None = None  # of a gate that means nothing
        self._standing = standing
        self._ended: dict[str, dict[str, Any]] = {}

    def take(self, one: Standing, member: Member) -> None:
        """Summarise a member that was trained, judge it by its gates, and write both into its run.

        Its seconds are those that all of them took.
        """
        name, run = member.name, member.run
        if member.diverged:
            self._ended[name] = {"run": str(run.path), "status": "diverged", "error": member.diverged}
            return
        seconds = time.monotonic() - self.watch.began
        summary = summarise(member.config, member.settings(), run, member.now.facts, seconds)
        self.problem = pass_through(one.gates(self.gates), summary) or self.problem
        # The record keeps its own, fuller account of the dataset.
        run.update(**{**summary, "dataset": run.record()["dataset"]})
        self._ended[name] = summary

    def document(self) -> dict[str, Any]:
        """What --json prints: every member's summary, with the verdict on its weights, in the order of the command."""
        members = []
        for one in self._standing:
            if one.has_ended:
                self._look_again(one)
            found = self._ended[one.planned.name]
            verdict = {"verdict": _verdict(one.run)} if found["status"] == "finished" else {}
            members.append({"member": one.planned.name, **found, **verdict})
        seconds = round(time.monotonic() - self.watch.began, 1)
        return {"ensemble": str(self.place), "counts": _counts(members), "members": members, "seconds": seconds}

    def _look_again(self, one: Standing) -> None:
        """A member that had ended before; other gates than it was begun with are kept in it where they can be."""
        if one.summary is None:
            self._ended[one.planned.name] = {"run": str(one.run.path), "status": "diverged", "error": one.diverged}
            return
        summary, gates = dict(one.summary), one.gates(self.gates)
        self.problem = pass_through(gates, summary) or self.problem
        expressions = [gate.expression for gate in gates]
        if expressions != one.run.record().get("fail_if") and not resuming.keep_gates(one.run, expressions, summary):
            terminal.note(f"warning: {one.run.path} cannot be written; its gates there stay as they were.")
        self._ended[one.planned.name] = summary


def unfinished(place: Path, standing: Sequence[Standing]) -> dict[str, Any]:
    """What a script is told of all members where --max-time stopped some."""
    members = [{"member": one.planned.name, **_so_far(one)} for one in standing]
    return {"ensemble": str(place), "status": "interrupted", "counts": _counts(members), "members": members}


def _so_far(one: Standing) -> dict[str, Any]:
    found, status = resuming.so_far(one.planned.config, one.run), status_of(one.run)
    return {**found, "status": status} if status in ("finished", "diverged") else found


def _counts(members: Sequence[dict[str, Any]]) -> dict[str, int]:
    return dict(Counter(member["status"] for member in members))


def _verdict(run: RunDirectory) -> str | None:
    """What `gipo inspect-weights` says of a member; none, and a warning, where its weights were damaged since."""
    try:
        return inspect_run(run).document["verdict"]
    except RunError as error:
        terminal.note(f"warning: {error.message} {error.hint}".rstrip())
        return None


def judge(outcome: Outcome, *, as_json: bool) -> None:
    """Print what came of all; the worst that came of one is the exit code.

    Raises:
        SettingError: a gate means nothing.
        DivergedError: a member diverged.
        GateError: a gate did not hold.
    """
    document = outcome.document()
    if as_json:
        terminal.json_document(document)
    else:
        print_ensemble(document)
    members = document["members"]
    diverged = [member for member in members if member["status"] == "diverged"]
    if diverged:
        lines = [f"{member['member']}: {member['error']}" for member in diverged[:SHOWN]]
        raise DivergedError(
            f"{len(diverged)} of {len(members)} members diverged.",
            "\n".join(
                [*lines, f"Each one's last checkpoint is whole; try again: gipo train --resume {diverged[0]['run']}"]
            ),
        )
    if outcome.problem is not None:
        raise outcome.problem
    failed = {
        member["member"]: [gate["expression"] for gate in member.get("gates", ()) if not gate["held"]]
        for member in members
    }
    failed = {name: expressions for name, expressions in failed.items() if expressions}
    if failed:
        lines = [f"{name}: {'; '.join(expressions)}" for name, expressions in failed.items()]
        raise GateError(f"gates did not hold in {len(failed)} of {len(members)} members.", "\n".join(lines[:SHOWN]))
    if any(member.get("gates") for member in members):
        terminal.note(f"every gate held in {len(members)} members.")
