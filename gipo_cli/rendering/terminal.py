"""What is printed: results on stdout, progress and notes on stderr. The only importer of rich, and only when needed."""

import dataclasses
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

Advance = Callable[..., None]
Part = str | tuple[str, str]  # text, or text and a rich style


def is_terminal(stream: TextIO | None = None) -> bool:
    """Whether a person watches `stream` (stdout unless told): false in a pipe, in CI and under TERM=dumb."""
    stream = sys.stdout if stream is None else stream
    in_ci = os.environ.get("CI", "").lower() not in ("", "0", "false")
    return stream is not None and stream.isatty() and not in_ci and os.environ.get("TERM", "") != "dumb"


def width() -> int:
    """Columns to fill: those of the terminal, or of COLUMNS, or 80."""
    return max(40, shutil.get_terminal_size((80, 24)).columns)


def printable(text: object) -> str:
    """Text as it may be shown: control and escape characters from a file are spelt out, never obeyed."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(text))


def json_document(document: Any) -> None:
    """Print one JSON document on stdout; see `json_text`."""
    print(json_text(document))


def json_text(document: Any) -> str:
    """A document as JSON.

    Numpy scalars and arrays, dataclasses and paths become plain values. NaN and infinity are refused with ValueError:
    they are not JSON, and a number that cannot be known must be null with its reason elsewhere in the document.
    """
    return json.dumps(document, indent=2, allow_nan=False, default=_plain)


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):  # numpy scalars and arrays, without importing numpy
        return value.tolist()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def note(text: str) -> None:
    """Print one line for the person on stderr."""
    print(printable(text), file=sys.stderr)


def line(*parts: Part) -> None:
    """Print one line of parts on stdout; styles are used on a terminal and dropped elsewhere."""
    pairs = [(part, "") if isinstance(part, str) else part for part in parts]
    if not is_terminal():
        print("".join(printable(text) for text, _ in pairs).rstrip())
        return
    from rich.text import Text

    # Text.assemble takes strings literally: markup such as [red] in a file's name stays text.
    _console(sys.stdout).print(Text.assemble(*((printable(text), style) for text, style in pairs)), soft_wrap=True)


def table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    spare: Sequence[str] = (),
    to_right: Sequence[str] = (),
) -> None:
    """Print a table on stdout; numbers stand right, None shows as a dash.

    Outside a terminal it is plain text that is never cut to a width, so that grep and awk find whole cells.

    Args:
        title: printed above; "" prints none.
        columns: heads.
        rows: cells in the order of the heads: strings, numbers, booleans or None.
        spare: heads of columns that a terminal too narrow for all goes without, the first one first.
        to_right: heads of columns of text that stand right as numbers do.
    """
    cells = [[cell_text(value) for value in row] for row in rows]
    # A column is numeric when every cell that is not missing is a number.
    right = [
        name in to_right or (bool(rows) and all(row[i] is None or _is_number(row[i]) for row in rows))
        for i, name in enumerate(columns)
    ]
    if not is_terminal():
        _plain_table(title, columns, cells, right)
        return
    kept = _that_fit(columns, cells, spare)
    _rich_table(title, [columns[i] for i in kept], [[row[i] for i in kept] for row in cells], [right[i] for i in kept])
    if left_out := [name for i, name in enumerate(columns) if i not in kept]:
        line((f"A wider terminal shows: {', '.join(left_out)}.", "dim"))


def pairs(heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print a name and a value a line; a long value is never broken, so that it can be copied from a terminal whole."""
    if not is_terminal():
        table("", heads, rows)
        return
    size = max(len(printable(name)) for name, _ in (heads, *rows))
    line((f"{printable(heads[0]):<{size}}  {heads[1]}", "bold"))
    for name, value in rows:
        line(f"{printable(name):<{size}}  {cell_text(value)}")


def cell_text(value: Any) -> str:
    """One value as a person reads it: four significant digits, thousands separated, a dash for None."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not _is_number(value):
        return printable(value)
    if float(value).is_integer() and abs(value) < 1e15 and not isinstance(value, float):
        return f"{int(value):,}"
    size = abs(float(value))
    return f"{float(value):.2e}" if size >= 1e5 or 0 < size < 1e-3 else f"{float(value):.4g}"


def _is_number(value: Any) -> bool:
    return not isinstance(value, (str, bool)) and hasattr(value, "__float__")


def _that_fit(columns: Sequence[str], cells: list[list[str]], spare: Sequence[str]) -> list[int]:
    """Numbers of the columns that stay: as many of the spare ones go as must, for every cell to stand on one line."""
    from rich.cells import cell_len

    between = 3  # blanks from column to column; half of them stand at either edge, and one more
    sizes = [between + max(map(cell_len, (name, *(row[i] for row in cells)))) for i, name in enumerate(columns)]
    kept = list(range(len(columns)))
    for name in spare:
        if sum(sizes[i] for i in kept) + 1 <= width():
            break
        kept.remove(columns.index(name))
    return kept


def _rich_table(title: str, columns: Sequence[str], cells: list[list[str]], right: list[bool]) -> None:
    _console(sys.stdout).print(_drawn(title, columns, cells, right))


def _drawn(title: str, columns: Sequence[str], cells: Sequence[Sequence[str]], right: list[bool]) -> Any:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, title=Text(printable(title)) if title else None, title_justify="left")
    drawn.title_style = "bold"
    for name, to_right in zip(columns, right, strict=True):
        drawn.add_column(Text(printable(name)), justify="right" if to_right else "left", overflow="fold")
    for row in cells:
        drawn.add_row(*(Text(printable(cell)) for cell in row))
    return drawn


def _plain_table(title: str, columns: Sequence[str], cells: list[list[str]], right: list[bool]) -> None:
    lines = [[printable(name) for name in columns], *cells]
    widths = [max(len(row[i]) for row in lines) for i in range(len(columns))]
    if title:
        print(printable(title))
    for row in lines:
        padded = [
            cell.rjust(size) if to_right else cell.ljust(size)
            for cell, size, to_right in zip(row, widths, right, strict=True)
        ]
        print("  ".join(padded).rstrip())


@contextmanager
def progress(description: str, total: int | None) -> Iterator[Advance]:
    """Show how far a long job is, on stderr: a bar with the rate and the time left.

        with progress("policy", 3000) as advance:
            advance()                        # one more
            advance(100, loss=0.01, kl=0.4)  # a hundred more, and figures to show beside the bar

    Nothing is drawn in a pipe, in CI or under TERM=dumb: a log must not fill with bars.

    Args:
        description: what is being done, in a word or two.
        total: how many units there are; None where that is unknown.
    """
    if not is_terminal(sys.stderr):
        yield _advance_unseen
        return
    with _bar() as bar:
        task = bar.add_task(printable(description), total=total, figures="", rate="")

        def advance(n: int = 1, **fields: Any) -> None:
            bar.advance(task, n)
            if fields:
                figures = "  ".join(f"{name} {cell_text(value)}" for name, value in fields.items())
                bar.update(task, figures=figures)
            speed = bar.tasks[task].speed
            bar.update(task, rate=f"{speed:,.0f}/s" if speed else "")

        yield advance


@contextmanager
def live() -> Iterator[Callable[[str, Sequence[str], Sequence[Sequence[str]]], None]]:
    """A table on stderr that is drawn anew in its place with each call of what is yielded: title, heads, rows.

    For a terminal; it is gone when the block ends.
    """
    from rich.live import Live
    from rich.text import Text

    with Live(Text(""), console=_console(sys.stderr), transient=True, refresh_per_second=4) as shown:

        def draw(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
            shown.update(_drawn(title, columns, rows, [False] * len(columns)))

        yield draw


def _advance_unseen(n: int = 1, **fields: Any) -> None:
    pass


def _bar() -> Any:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    def text(field: str, style: str = "none") -> TextColumn:
        return TextColumn(field, style=style, markup=False)

    columns = (
        text("{task.description}", "bold"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        text("{task.fields[rate]}"),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        text("{task.fields[figures]}", "dim"),
    )
    return Progress(*columns, console=_console(sys.stderr), refresh_per_second=8)


def _console(stream: TextIO) -> Any:
    from rich.console import Console

    # rich reads NO_COLOR itself; highlight would colour numbers inside file names.
    return Console(file=stream, highlight=False, markup=False, emoji=False)
