import json

import numpy as np
import pytest

from gipo_cli.rendering import terminal
from gipo_cli.rendering.inspection import blocks


def test_plain_table_lines_up(capsys):
    terminal.table("Found", ["name", "count"], [["a", 12345], ["bc", None]])
    assert capsys.readouterr().out == "Found\nname   count\na     12,345\nbc         –\n"


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
