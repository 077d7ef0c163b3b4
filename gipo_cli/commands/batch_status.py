"""`gipo batch status`: where the jobs of a batch stand, for a person or a program."""

from pathlib import Path
from typing import Annotated

import typer

from gipo_cli.errors import unknown_name

FORMATS = ("table", "json", "csv", "md", "junit")


def batch_status(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A batch directory.", show_default=False)],
    format_name: Annotated[
        str, typer.Option("--format", metavar="NAME", help="table, json, csv, md or junit.")
    ] = "table",
    json: Annotated[bool, typer.Option("--json", help="Short for --format json.")] = False,
) -> None:
    """Show every job of a batch and what it came to; the batch may run meanwhile, and its exit code is not repeated."""
    chosen = "json" if json else format_name
    if chosen not in FORMATS:
        raise unknown_name("format", chosen, FORMATS)
    from gipo_cli.batch.directory import BatchDirectory
    from gipo_cli.batch.fates import fate_of
    from gipo_cli.batch.summary import summarise, text_of
    from gipo_cli.rendering.batch import print_summary

    batch = BatchDirectory.open(directory)
    document = summarise(batch, [fate_of(batch, job) for job in batch.jobs()], None)
    if chosen == "table":
        print_summary(document)
    else:
        print(text_of(document, chosen), end="")
