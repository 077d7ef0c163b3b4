"""The Typer app, built from the registry, and the one place where an error becomes text and an exit code."""

import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from gipo_cli import __version__
from gipo_cli.commands import is_first_rank
from gipo_cli.errors import ExitCode, GipoError, SettingError
from gipo_cli.registry import COMMANDS

GROUPS = {
    "datasets": "Logged data: list, check and describe logs; convert, split, merge, fetch and record them.",
    "batch": "Many runs from one file: `gipo batch JOBS.toml` (short for `gipo batch run JOBS.toml`).",
}


class _Group(TyperGroup):
    """A group with a command `run` is that command itself where no other is named: `gipo batch JOBS.toml`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if "run" in self.commands and args and args[0] not in (*self.commands, "--help"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


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
                groups[group[0]] = typer.Typer(no_args_is_help=True, cls=_Group, help=GROUPS[group[0]])
                app.add_typer(groups[group[0]], name=group[0])
            target = groups[group[0]]
        target.command(command)(_until_nobody_reads(COMMANDS.load(name)))
    return app


def _until_nobody_reads(command: Callable[..., Any]) -> Callable[..., Any]:
    """A command that is done when its output is no longer read, as in `gipo ... | head`; Typer makes that exit 1."""

    @wraps(command)
    def run(*arguments: Any, **named: Any) -> None:
        try:
            command(*arguments, **named)
            sys.stdout.flush()
        except BrokenPipeError:
            _drop_output()
        except OSError as error:
            if error.errno != errno.ENOSPC or error.filename is not None:
                raise
            _drop_output()
            raise SettingError(f"the output cannot be written ({error.strerror}).") from error

    return run


def _drop_output() -> None:
    """Keep the interpreter's last flush from complaining."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


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
        with _terminated_by_exit(), _one_voice():
            app(args=arguments, prog_name="gipo")
    except GipoError as error:
        report(error)
        sys.exit(int(error.exit_code))
    except KeyboardInterrupt:
        typer.echo("gipo: interrupted", err=True)
        sys.exit(int(ExitCode.INTERRUPTED))


@contextmanager
def _one_voice() -> Iterator[None]:
    """Of several ranks the first alone prints what each would: help, usage errors, warnings of libraries."""
    if is_first_rank():
        yield
        return
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        yield


@contextmanager
def _terminated_by_exit() -> Iterator[None]:
    """A polite kill leaves the process as an error does: what is half written is taken away."""

    def leave(number: int, frame: object) -> None:
        sys.exit(int(ExitCode.TERMINATED))

    try:
        before = signal.signal(signal.SIGTERM, leave)
    except ValueError:  # not the main thread
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
