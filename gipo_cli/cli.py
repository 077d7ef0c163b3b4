"""The Typer app, built from the registry, and the one place where an error becomes text and an exit code."""

import os
import sys
from typing import Annotated

import typer

from gipo_cli import __version__
from gipo_cli.errors import ExitCode, GipoError
from gipo_cli.registry import COMMANDS

GROUPS = {"datasets": "Logged data: list, check and describe logs; convert, split, merge, fetch and record them."}


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"gipo {__version__}")
        raise typer.Exit()


def _about(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Train a policy from logged data alone with GIPO, and see whether the result can be trusted."""


def build_app() -> typer.Typer:
    """Make the app: one command for each entry of `registry.COMMANDS`; "datasets list" lands in the group datasets."""
    app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, callback=_about)
    groups: dict[str, typer.Typer] = {}
    for name in COMMANDS.places:
        *group, command = name.split(" ")
        target = app
        if group:
            if group[0] not in groups:
                groups[group[0]] = typer.Typer(no_args_is_help=True, help=GROUPS[group[0]])
                app.add_typer(groups[group[0]], name=group[0])
            target = groups[group[0]]
        target.command(command)(COMMANDS.load(name))
    return app


app = build_app()


def report(error: GipoError) -> None:
    """Print an error as plain text on stderr: what is wrong, and under it what to do."""
    typer.echo(f"gipo: {_printable(error.message)}", err=True)
    for line in error.hint.splitlines():
        typer.echo(f"      {_printable(line)}", err=True)


def _printable(text: str) -> str:
    """Text from files may hold terminal control sequences; show them, never obey them."""
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text)


def main(arguments: list[str] | None = None) -> None:
    """Run `gipo` and leave the process with the exit code of DESIGN.md section 7."""
    try:
        app(args=arguments, prog_name="gipo")
    except GipoError as error:
        report(error)
        sys.exit(int(error.exit_code))
    except KeyboardInterrupt:
        typer.echo("gipo: interrupted", err=True)
        sys.exit(int(ExitCode.INTERRUPTED))
    except BrokenPipeError:
        # `gipo ... | head`: the reader has gone; devnull keeps the interpreter's last flush from complaining.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(int(ExitCode.DONE))
