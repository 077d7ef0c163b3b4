"""Shared fixtures: a quiet terminal, and the command line run in this process."""

import os

import pytest

os.environ.update(COLUMNS="100", NO_COLOR="1", TERM="dumb")


class Outcome:
    """What a command printed and the exit code it left with."""

    def __init__(self, exit_code: int, stdout: str, stderr: str) -> None:
        self.exit_code, self.stdout, self.stderr = exit_code, stdout, stderr


@pytest.fixture
def gipo(capsys):
    """Run `gipo ARGUMENTS...` in this process through the same boundary as the installed command."""
    from gipo_cli.cli import main

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as exited:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        code = exited.value.code
        return Outcome(int(code or 0) if not isinstance(code, str) else 1, captured.out, captured.err)

    return run
