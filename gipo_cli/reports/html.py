"""A report as one HTML page that needs nothing beside itself: style and pictures are in it, and no script."""

import base64
from collections.abc import Iterable, Sequence
from html import escape

from gipo_cli.rendering.terminal import printable
from gipo_cli.reports.blocks import Block, Code, Findings, Heading, Paragraph, Picture, Table

STYLE = """
:root { color-scheme: light dark; --text: #1a1a1a; --soft: #5c5c5c; --line: #d8d8d8; --page: #fff; --part: #f5f5f4;
  --ok: #007a5a; --note: #005c94; --warning: #9a6300; --alarm: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --text: #ececec; --soft: #a8a8a8; --line: #3d3d3d; --page: #161616;
  --part: #222; --ok: #4cc9a0; --note: #6db8ea; --warning: #e8b04a; --alarm: #ff8a80; } }
body { margin: 0 auto; padding: 1rem; max-width: 60rem; color: var(--text); background: var(--page);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
h1 { font-size: 1.5rem; }
h2 { font-size: 1.3rem; margin-top: 3rem; border-top: 1px solid var(--line); padding-top: 1rem; }
h3 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; min-width: 50%; }
td, th { padding: .25rem .75rem .25rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; text-align: left; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
ul.findings { list-style: none; padding: 0; }
ul.findings li { margin: .35rem 0; padding-left: 5.2rem; position: relative; }
.level { position: absolute; left: 0; font-weight: 600; } .source { color: var(--soft); font-size: .85rem; }
.ok { color: var(--ok); } .note { color: var(--note); } .warning { color: var(--warning); }
.alarm, .error { color: var(--alarm); }
pre { background: var(--part); padding: .75rem; overflow-x: auto; font-size: .85rem; }
img { margin-top: 1rem; width: 100%; height: auto; background: #fff; border-radius: 4px; }
"""


def html(blocks: Iterable[Block], title: str) -> str:
    """One page. No text of a run is taken for HTML, and the page may load nothing from anywhere."""
    body = "\n".join(_element(block) for block in blocks)
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f"<title>{_safe(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _safe(text: str) -> str:
    return escape("\n".join(printable(line) for line in text.split("\n")))


def _element(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"<h{level}>{_safe(text)}</h{level}>"
        case Paragraph(text, strong):
            return f"<p><strong>{_safe(text)}</strong></p>" if strong else f"<p>{_safe(text)}</p>"
        case Table(heads, rows, left):
            head = _row("th", heads, left) if any(heads) else ""
            return f'<div class="wide"><table>{head}{"".join(_row("td", row, left) for row in rows)}</table></div>'
        case Findings(items):
            return f'<ul class="findings">{"".join(_finding(*item) for item in items)}</ul>'
        case Picture(png, shows):
            data = base64.b64encode(png).decode()
            return f'<img src="data:image/png;base64,{data}" alt="{_safe(shows)}">'
        case Code(text, title):
            code = f"<pre>{_safe(text)}</pre>"
            return code if not title else f"<details><summary>{_safe(title)}</summary>{code}</details>"
    raise TypeError(f"a {type(block).__name__} has no form in HTML")


def _row(kind: str, cells: Sequence[str], left: int) -> str:
    opened = [f"<{kind}>" if i < left else f'<{kind} class="number">' for i, _ in enumerate(cells)]
    parts = [f"{tag}{_safe(cell)}</{kind}>" for tag, cell in zip(opened, cells, strict=True)]
    return f"<tr>{''.join(parts)}</tr>"


def _finding(level: str, text: str, source: str) -> str:
    return (
        f'<li><span class="level {_safe(level)}">{_safe(level)}</span>{_safe(text)} '
        f'<span class="source">{_safe(source)}</span></li>'
    )
