"""Text and tables in Markdown, with nothing of a stranger's text taken for a mark."""

from collections.abc import Sequence

from gipo_cli.rendering import terminal


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> list[str]:
    """The lines of a table, its first columns to the left and the others to the right."""
    rule = ["---"] * left + ["---:"] * (len(heads) - left)
    cells = [[escaped(text) for text in row] for row in (heads, *rows)]
    return ["| " + " | ".join(row) + " |" for row in (cells[0], rule, *cells[1:])]


def escaped(text: str) -> str:
    """Text whose marks are shown and not obeyed."""
    shown = terminal.printable(text).replace("&", "&amp;")
    for mark in "\\|*_<`[~$":
        shown = shown.replace(mark, f"\\{mark}")
    # GitHub makes links of addresses and of names, and has no mark that keeps it from it.
    return shown.replace("://", ":&#8203;//").replace("@", "@&#8203;")
