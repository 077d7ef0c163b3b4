"""What a batch comes to, as a document, and that as JSON, CSV, Markdown or JUnit."""

import csv
import io
from collections import Counter
from collections.abc import Sequence
from typing import Any

from gipo_cli.batch.directory import BatchDirectory
from gipo_cli.batch.fates import DONE, Fate
from gipo_cli.rendering import markdown, terminal

FIGURES = ("step", "ess_fraction", "kl", "surrogate_lower", "certified", "seconds", "attempts")


def summarise(batch: BatchDirectory, fates: Sequence[Fate], seconds: float | None) -> dict[str, Any]:
    """One document: how many jobs stand where, and each job."""
    counts = Counter(fate.status for fate in fates)
    document = {"batch": str(batch.path), "counts": dict(counts), "jobs": [fate.document() for fate in fates]}
    return document if seconds is None else {**document, "seconds": round(seconds, 1)}


def rows(document: dict[str, Any]) -> tuple[list[str], list[list[Any]]]:
    """Heads and a row for each job: its name and status, its figures, gates held, and what went wrong."""
    heads = ["job", "status", *FIGURES, "gates", "error"]
    return heads, [
        [job["job"], job["status"], *(job.get(name) for name in FIGURES), _gates(job), job["error"]]
        for job in document["jobs"]
    ]


def text_of(document: dict[str, Any], form: str) -> str:
    """The document as json, csv, md or junit, ended by a line break."""
    if form == "json":
        return terminal.json_text(document) + "\n"
    if form == "junit":
        from gipo_cli.reports.junit import suites  # which loads what it takes to inspect weights

        return suites([_as_run(job) for job in document["jobs"]])
    heads, table = rows(document)
    if form == "md":
        cells = [[terminal.cell_text(cell) for cell in row] for row in table]
        return "\n".join(markdown.table(heads, cells, 2)) + "\n"
    file = io.StringIO()
    given = list(dict.fromkeys(key for job in document["jobs"] for key in job["given"]))
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*heads, *(f"given.{key}" for key in given)])
    for row, job in zip(table, document["jobs"], strict=True):
        writer.writerow([_cell(cell) for cell in [*row, *(job["given"].get(key) for key in given)]])
    return file.getvalue()


def _as_run(job: dict[str, Any]) -> dict[str, Any]:
    """A job as a report on a run has it, where gates are beside the status and not of it."""
    status = "finished" if job["status"] in DONE else job["status"]
    return {**job, "run": job["job"], "status": status, "error": job["error"] or "it has not ended"}


def _gates(job: dict[str, Any]) -> str | None:
    return f"{sum(gate['held'] for gate in job['gates'])}/{len(job['gates'])}" if job["gates"] else None


def _cell(value: Any) -> Any:
    """Text that a spreadsheet would take for a formula is marked as text."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@") else value
