"""A batch as a person watches it: a live table on a terminal, a line for each job that ended elsewhere."""

import shlex
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any

from gipo_cli.batch.directory import BatchDirectory, Listed
from gipo_cli.batch.fates import Fate, fate_of
from gipo_cli.batch.summary import rows
from gipo_cli.rendering import terminal

EVERY = 1.0  # seconds between looks at the metrics of running jobs
SPARE = ("surrogate_lower", "certified", "attempts", "kl", "step", "seconds")


class BatchWatch:
    """Shows jobs as they run and end; nothing when quiet."""

    def __init__(self, batch: BatchDirectory, jobs: Sequence[Listed], quiet: bool) -> None:
        self._batch, self._jobs, self._quiet = batch, jobs, quiet
        self._live = not quiet and terminal.is_terminal(sys.stderr)
        self._stack, self._looked = ExitStack(), 0.0

    def __enter__(self) -> "BatchWatch":
        """Begin to show."""
        self._fates = {job.name: fate_of(self._batch, job) for job in self._jobs}
        done = sum(fate.is_finished for fate in self._fates.values())
        if done and not self._quiet:
            terminal.note(f"{done} of {len(self._jobs)} jobs have finished before and are skipped.")
        self._draw = self._stack.enter_context(terminal.live()) if self._live else None
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """End the live table; what it showed last goes, the summary follows."""
        self._stack.close()

    def look(self, ended: Fate | None) -> None:
        """Called again and again, with each job that ended."""
        if self._quiet:
            return
        if ended is not None:
            self._fates[ended.job.name] = ended
            if self._draw is None:
                self._say(ended)
        if self._draw is not None and (ended is not None or time.monotonic() - self._looked > EVERY):
            self._looked = time.monotonic()
            self._draw(*self._table())

    def _say(self, fate: Fate) -> None:
        done = sum(fate.is_finished for fate in self._fates.values())
        figures = [
            f"{name} {fate.figures[key]:.3g}{unit}"
            for name, key, unit in (("ESS", "ess_fraction", ""), ("KL", "kl", ""), ("in", "seconds", " s"))
            if fate.figures.get(key) is not None
        ]
        error = f": {fate.error}" if fate.error else ""
        terminal.note(f"[{done}/{len(self._jobs)}] {fate.job.name} {fate.status}  {'  '.join(figures)}{error}")

    def _table(self) -> tuple[str, list[str], list[list[str]]]:
        """What runs now, and how many stand where."""
        for job in self._jobs:
            if not self._fates[job.name].is_finished:
                self._fates[job.name] = fate_of(self._batch, job)
        counts = Counter(fate.status for fate in self._fates.values())
        shown = [fate for fate in self._fates.values() if fate.status in ("running", "failed", "diverged")][-20:]
        title = "  ".join(f"{status} {count}" for status, count in sorted(counts.items()))
        return title, ["job", "status", "step"], [[f.job.name, f.status, f"{f.step:,}"] for f in shown]


def print_jobs(batch: BatchDirectory, commands: Sequence[tuple[Listed, list[str]]], as_json: bool) -> None:
    """What a batch would run."""
    if as_json:
        found = [{"job": job.name, "given": job.given, "command": command} for job, command in commands]
        terminal.json_document({"batch": str(batch.path), "status": "dry run", "jobs": found})
        return
    for job, command in commands:
        done = fate_of(batch, job).is_finished
        terminal.line((job.name, "bold"), "   (has finished)" if done else "")
        terminal.line(f"    {shlex.join(command)}")
    terminal.line("")
    terminal.line(f"{len(commands)} jobs in {batch.path}.")


def print_summary(document: dict[str, Any]) -> None:
    """The table of a batch, and the commands that come next."""
    heads, table = rows(document)
    with_error = any(row[-1] for row in table)
    if not with_error:
        heads, table = heads[:-1], [row[:-1] for row in table]
    terminal.table("", heads, table, spare=SPARE)
    terminal.line("")
    counts = ", ".join(f"{count} {status}" for status, count in sorted(document["counts"].items()))
    took = f", {document['seconds']:,.0f} s in all" if "seconds" in document else ""
    terminal.line(f"{len(document['jobs'])} jobs: {counts}{took}")
    if document["counts"].get("finished"):
        terminal.line("Compare them:  ", (f"gipo compare {shlex.quote(document['batch'])} --evaluate", "bold"))
