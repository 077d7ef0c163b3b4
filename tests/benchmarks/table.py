"""The results as Markdown tables that read as they are, one for each comparison."""

from typing import Any

HEADINGS = ("", "median", "quartiles", "speed against the first", "samples/s", "CPU s/s", "median by CPU", "peak MiB")


def tables(results: list[dict[str, Any]]) -> str:
    """All of them, in the order in which they were measured."""
    groups: dict[tuple[str, int], list[dict[str, Any]]] = {}
    for result in results:
        groups.setdefault((result["comparison"], result["threads"]), []).append(result)
    return "\n".join(_table(name, threads, group) for (name, threads), group in groups.items())


def _table(name: str, threads: int, group: list[dict[str, Any]]) -> str:
    rows = [_row(result) for result in group]
    kept = [i for i in range(len(HEADINGS)) if i == 0 or any(row[i] for row in rows)]
    lines = [[line[i] for i in kept] for line in (HEADINGS, *rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(kept))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    cells = [[cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(line, widths, strict=True))]
             for line in (lines[0], rule, *lines[1:])]  # fmt: skip
    rounds = max(result["rounds"] for result in group)
    heading = f"**{name}**, {group[0]['unit']}, {threads} thread{'s' if threads > 1 else ''}, {rounds} rounds"
    return "\n".join([heading, "", *(f"| {' | '.join(line)} |" for line in cells), ""])


def _row(result: dict[str, Any]) -> tuple[str, ...]:
    if result["absent"] is not None:
        return (f"{result['subject']}: absent, {result['absent']}", *[""] * (len(HEADINGS) - 1))
    peak = result["peak_mebibytes"]
    memory = "" if peak is None else f"{peak:,.0f}"
    if result["quartiles"] is None:
        return (result["subject"], *[""] * (len(HEADINGS) - 2), memory)
    lower, median, upper = map(figure, result["quartiles"])
    ratios = [f"{ratio:.2f}" for ratio in result["to_first"]]
    samples = result["samples_per_second"]
    return (
        result["subject"], median, f"{lower} to {upper}", f"{ratios[1]} ({ratios[0]} to {ratios[2]})",
        "" if samples is None else f"{samples:,.0f}", f"{result['cpu']:.2f}", figure(result["by_cpu"]), memory,
    )  # fmt: skip


def figure(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
