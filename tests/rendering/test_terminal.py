import json

import numpy as np
import pytest

from gipo_cli.rendering import terminal
from gipo_cli.rendering.inspection import blocks


def test_plain_table_lines_up(capsys):
    terminal.table("Found", ["name", "count"], [["a", 12345], ["bc", None]])
    assert capsys.readouterr().out == "Found\nname   count\na     12,345\nbc         –\n"


@pytest.fixture
def terminal_of(monkeypatch):
    """A terminal of so many columns."""

    def of(columns):
        monkeypatch.setattr(terminal, "is_terminal", lambda stream=None: True)
        monkeypatch.setenv("COLUMNS", str(columns))

    return of


@pytest.mark.parametrize(("columns", "heads"), [(60, ["name"]), (65, ["name", "MB"]), (200, ["name", "MB", "about"])])
def test_a_narrow_terminal_goes_without_spare_columns_and_breaks_no_cell(capsys, terminal_of, columns, heads):
    terminal_of(columns)
    rows = [["a" * 54, 12.5, "x" * 80], ["b" * 54, None, "y"]]
    terminal.table("", ["name", "MB", "about"], rows, spare=["about", "MB"])
    printed = capsys.readouterr().out
    lines = [line.split() for line in printed.splitlines()]
    shown = {"name": ["a" * 54, "b" * 54], "MB": ["12.5", "–"], "about": ["x" * 80, "y"]}
    for cells in (heads, *([shown[head][i] for head in heads] for i in range(2))):
        assert cells in lines
    left_out = [head for head in shown if head not in heads]
    assert ("A wider terminal shows" in printed) == bool(left_out)
    assert all(head in printed for head in left_out)


def test_a_value_of_pairs_is_never_broken(capsys, terminal_of):
    terminal_of(40)
    terminal.pairs(["share", "a.hdf5"], [["fingerprint", "f" * 71], ["steps", 1234]])
    assert capsys.readouterr().out == f"share        a.hdf5\nfingerprint  {'f' * 71}\nsteps        1,234\n"


def test_control_characters_are_spelt_out(capsys):
    terminal.table("", ["name"], [["\x1b[31mred"]])
    terminal.line("\x1b]0;title\x07")
    terminal.note("\x1b[2J")
    captured = capsys.readouterr()
    assert "\x1b" not in captured.out + captured.err and "\\x1b[31mred" in captured.out


def test_json_takes_numpy_and_refuses_nan(capsys):
    terminal.json_document({"a": np.float32(0.5), "b": np.arange(2)})
    assert json.loads(capsys.readouterr().out) == {"a": 0.5, "b": [0, 1]}
    with pytest.raises(ValueError, match="JSON"):
        terminal.json_document({"a": float("nan")})


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (True, "yes"), (1234567, "1,234,567"), (0.12345, "0.1235"), (1e-5, "1.00e-05")]
)
def test_cells(value, text):
    assert terminal.cell_text(value) == text


def test_blocks_show_every_filled_bin():
    assert blocks([0, 1, 1000], height=1) == [" ▁█"]
    assert blocks([0, 8, 16], height=2) == ["  █", " ██"]
