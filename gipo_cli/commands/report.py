"""`gipo report`: what runs come to, as a page, a step summary, a document or test results."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gipo_cli.commands import FailIf, places_of
from gipo_cli.errors import GipoError, RunError, SettingError, brief, unknown_name
from gipo_cli.gates import enforce, parse_gates

if TYPE_CHECKING:
    from gipo_cli.reports.document import RunReport
    from gipo_cli.runs import RunDirectory

FORMATS = {".md": "md", ".html": "html", ".json": "json", ".xml": "junit"}  # by the suffix of --out
SUMMARY = "GITHUB_STEP_SUMMARY"


def report(
    runs: Annotated[
        list[str], typer.Argument(help="Run directories, directories that hold runs, or globs.", show_default=False)
    ],
    format_name: Annotated[
        str | None,
        typer.Option("--format", metavar="NAME", help="md, html, json or junit. (default: by --out's suffix, else md)"),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write it here. (default: print it)", show_default=False)] = None,
    force: Annotated[bool, typer.Option("--force", help="Let --out replace a file.")] = False,
    github_summary: Annotated[
        bool, typer.Option("--github-summary", help=f"Append it as Markdown to ${SUMMARY}, too.")
    ] = False,
    fail_if: FailIf = None,
    json: Annotated[bool, typer.Option("--json", help="Short for --format json.")] = False,
) -> None:
    """Report on runs: verdict, weights, training, returns where evaluated, data, how to do it again.

    An HTML page has its pictures in it and loads nothing. JUnit has a case for each gate: those that the runs were
    trained with, and those given here, which alone decide the exit code.
    """
    gates = parse_gates(fail_if)
    chosen = _format(format_name, out, json)
    if out is not None:
        _refuse(out, force)
    if github_summary and not os.environ.get(SUMMARY):
        raise SettingError(
            f"--github-summary: {SUMMARY} is not set.", "GitHub Actions sets it for every step; elsewhere leave it out."
        )

    from gipo_cli import durable
    from gipo_cli.rendering import terminal
    from gipo_cli.reports.document import report_of

    places = places_of(runs)
    with _damage():
        reports = [report_of(place, gates) for place in places]
        text = _text(chosen, reports, places)
        summary = text if chosen == "md" or not github_summary else _text("md", reports, places)
    if out is None:
        print(text, end="")
    else:
        try:
            durable.write(out, text.encode())
        except OSError as error:
            raise SettingError(f"{out} cannot be written ({error.strerror}).") from error
        terminal.note(f"wrote {out}")
    if github_summary:
        _append(Path(os.environ[SUMMARY]), summary)
    # Those of the training are reported, and were enforced when it ended.
    given = [(each.document["run"], gate) for each in reports for gate in each.given]
    problem = next((each.problem for each in reports if each.problem), None)
    enforce([{**gate, "key": f"{run}: {gate['key']}"} for run, gate in given], problem)


def _format(named: str | None, out: Path | None, json: bool) -> str:
    if json and named not in (None, "json"):
        raise SettingError(f"--json and --format {named} both name the format.", "Give one of them.")
    if json:
        return "json"
    if named is not None and named not in FORMATS.values():
        raise unknown_name("format", named, FORMATS.values())
    if named is None and out is not None and out.suffix not in FORMATS:
        raise SettingError(
            f"the suffix of {out} names no format.", f"Known: {', '.join(FORMATS)}; or say which with --format."
        )
    return named or (FORMATS[out.suffix] if out is not None else "md")


def _refuse(out: Path, force: bool) -> None:
    """A place that cannot be written is refused before the work."""
    if out.is_dir():
        raise SettingError(f"{out} is a directory.", "Name a file for --out.")
    if out.exists() and not force:
        raise SettingError(f"{out} exists.", "Add --force to replace it, or name another file.")
    if not out.parent.is_dir():
        raise SettingError(f"there is no directory {out.parent}.", f"Make it: mkdir -p {out.parent}")


def _text(chosen: str, reports: "list[RunReport]", places: "list[RunDirectory]") -> str:
    from gipo_cli.rendering import terminal
    from gipo_cli.reports.content import content
    from gipo_cli.reports.html import html
    from gipo_cli.reports.junit import junit
    from gipo_cli.reports.markdown import markdown

    if chosen == "junit":
        return junit(reports)
    document = _compared(places)
    if chosen == "json":
        whole = {"runs": [each.document for each in reports], "comparison": document}
        return terminal.json_text(whole) + "\n"
    blocks = list(content(reports, document, pictures=chosen == "html"))
    title = f"gipo: {reports[0].document['run']}" if len(reports) == 1 else f"gipo: {len(reports)} runs"
    return html(blocks, title) if chosen == "html" else markdown(blocks)


@contextmanager
def _damage() -> Iterator[None]:
    """A run directory may be a stranger's, and hold anything where a run writes numbers and names."""
    try:
        yield
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        raise RunError(
            f"a run directory holds what no run writes ({type(error).__name__}: {brief(error)}).",
            "Look at the .json and .jsonl files of the runs, or report on them one by one.",
        ) from error


def _compared(places: "list[RunDirectory]") -> dict[str, Any] | None:
    """What `gipo compare --json` prints, where there are several runs that can be compared."""
    from gipo_cli.evaluation.comparison import compare
    from gipo_cli.evaluation.results import read_result

    if len(places) < 2:
        return None
    try:
        return compare([read_result(place) for place in places], (), None)
    except GipoError:  # none of them was evaluated, say: there is nothing to compare, and much to report
        return None


def _append(summary: Path, text: str) -> None:
    from gipo_cli.rendering import terminal

    try:
        with summary.open("a", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise SettingError(f"--github-summary: {summary} cannot be written ({error.strerror}).") from error
    terminal.note(f"appended to {summary}")
