"""The error boundary and what the shell sees."""

import subprocess
import sys
from pathlib import Path

import pytest

from gipo_cli import __version__
from gipo_cli.cli import report
from gipo_cli.errors import DataError


def test_the_version(gipo):
    outcome = gipo("--version")
    assert (outcome.exit_code, outcome.stdout) == (0, f"gipo {__version__}\n")


def test_an_unknown_command_is_a_usage_error(gipo):
    outcome = gipo("trian")
    assert outcome.exit_code == 2
    assert "trian" in outcome.stderr


def test_control_characters_from_a_file_are_shown_and_not_obeyed(capsys):
    report(DataError("the column '\x1b[2J' is bad", "first\nsecond \x07"))
    assert capsys.readouterr().err == "gipo: the column '\\x1b[2J' is bad\n      first\n      second \\x07\n"


def test_python_m_is_the_command():
    done = subprocess.run([sys.executable, "-m", "gipo_cli", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"gipo {__version__}\n"


@pytest.mark.parametrize("reader", ["true", "head -1"])
@pytest.mark.parametrize("command", ["objectives", "datasets list --json"])
def test_a_reader_that_goes_away_is_no_error(command, reader):
    line = f"{sys.executable} -m gipo_cli {command} | {reader}; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_output_that_cannot_be_written_is_one_sentence():
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "gipo_cli", "objectives"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    expected = "gipo: the output cannot be written (No space left on device).\n"
    assert (done.returncode, done.stderr) == (2, expected)
