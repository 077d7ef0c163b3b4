"""A report as GitHub's Markdown, for a step summary or a file in a repository; it has no pictures."""

from collections.abc import Iterable

from gipo_cli.rendering.markdown import escaped, table
from gipo_cli.rendering.terminal import printable
from gipo_cli.reports.blocks import Block, Code, Findings, Heading, Paragraph, Picture, Table

MARKS = {"ok": "✅", "note": "▫️", "warning": "⚠️", "alarm": "❌", "error": "❌"}


def markdown(blocks: Iterable[Block]) -> str:
    """One text, ended by a line break."""
    return "\n\n".join("\n".join(_lines(block)) for block in blocks if not isinstance(block, Picture)) + "\n"


def _lines(block: Block) -> list[str]:
    match block:
        case Heading(text, level):
            return ["#" * level + " " + escaped(text)]
        case Paragraph(text, strong):
            return [f"**{escaped(text)}**" if strong else escaped(text)]
        case Table(heads, rows, left):
            return table(heads, rows, left)
        case Findings(items):
            return [f"* {MARKS[level]} {escaped(text)} <sub>{escaped(source)}</sub>" for level, text, source in items]
        case Code(text, title):
            return _code(text, title)
    raise TypeError(f"a {type(block).__name__} has no form in Markdown")


def _code(text: str, title: str) -> list[str]:
    text = "\n".join(printable(line) for line in text.split("\n"))
    fence = "```"
    while fence in text:  # a stranger's text may hold one
        fence += "`"
    lines = [fence, text, fence]
    return lines if not title else ["<details>", f"<summary>{escaped(title)}</summary>", "", *lines, "", "</details>"]
