"""The weights of a run as a person reads them in a terminal: three histograms, a table, findings, one word."""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gipo_cli.diagnostics.columns import Column, walk
from gipo_cli.diagnostics.order_statistics import quantile
from gipo_cli.rendering import terminal

BLOCKS = " ▁▂▃▄▅▆▇█"
HEIGHT = 2  # text rows of one histogram
LABEL = 9  # columns in front of a histogram
STYLES = {"ok": "green", "note": "cyan", "warning": "yellow", "alarm": "bold red"}
VERDICTS = {"trust": "bold green", "caution": "bold yellow", "distrust": "bold red"}
HEADS = {
    "all": "all",
    "held_in": "held in",
    "held_out": "held out",
    "positive_advantage": "A > 0",
    "negative_advantage": "A < 0",
}
ROWS = (
    ("transitions", ("transitions",)),
    ("ESS, raw weights", ("raw", "ess_fraction")),
    ("ESS, trust-weighted", ("trust_weighted", "ess_fraction")),
    ("mean raw weight", ("raw", "mean")),
    ("largest raw weight", ("raw", "max")),
    ("Pareto k, raw weights", ("raw", "pareto_k")),
    ("mean trust-weighted", ("trust_weighted", "mean")),
    ("largest trust-weighted", ("trust_weighted", "max")),
    ("KL(beta || pi), nats", ("kl", "k1")),
    ("std of log ratio, nats", ("log_ratio", "std")),
    ("silenced by PPO-Clip", ("ppo_dead_fraction",)),
    ("weight below 0.001", ("suppressed_fraction",)),
)
SHARES = ("ess_fraction", "ppo_dead_fraction", "suppressed_fraction", "weight_share", "gradient_share")
PARTS = {
    "transitions": "steps", "ess_fraction": "ESS", "kl": "KL, nats", "std": "std, nats",
    "weight_share": "of the weight", "gradient_share": "of weight x |A|",
}  # fmt: skip


def print_inspection(weights: Any, document: dict[str, Any], objective: str, settings: dict[str, float]) -> None:
    """Print everything, in at most 100 columns.

    Args:
        weights: log_ratio, raw, trust_weighted and held_out, each [N].
        document: what `gipo inspect-weights --json` prints.
        objective: its name.
        settings: the objective's.
    """
    chosen = ", ".join(f"{name} {value:g}" for name, value in settings.items())
    terminal.line((f"{document['run']}", "bold"), f"  {objective}" + (f" ({chosen})" if chosen else ""))
    bound = document["splits"]["all"]["trust_weighted"]["bound"]
    low, high = quantile(weights.log_ratio, [0.005, 0.995])
    _histogram("log ratio, nats", weights.log_ratio, weights.held_out, (low, high))
    raw = weights.raw
    top = weight_axis(raw, bound)
    _histogram("raw weights", raw, weights.held_out, (0.0, top))
    own = 1.02 * bound if bound is not None and bound < top else top
    bounded = "" if bound is None else f", at most {bound:.3g}"
    _histogram(f"trust-weighted weights{bounded}", weights.trust_weighted, weights.held_out, (0.0, own))
    terminal.line("")
    rows = [[name, *(_cell(document["splits"][split], path) for split in HEADS)] for name, path in ROWS]
    terminal.table("", ["", *HEADS.values()], rows)
    _by_part(document["by_dimension"], "dimension")
    _by_part((document["by_version"] or {}).get("versions"), "version")
    _findings(document["findings"])
    _verdict(document["verdict"], document["findings"])


def weight_axis(raw: Column, bound: float | None) -> float:
    """Where the axis of weights ends: room for the bulk of the raw ones and for the bound, never for one wild one."""
    (most,) = quantile(raw, [0.98])
    return min(1.05 * max(most, bound or 0.0, 1.5), max(20.0, 1.05 * min(bound or 0.0, 100.0)))


def _histogram(title: str, column: Column, held_out: Column, axis: tuple[float, float]) -> None:
    """One histogram for each split above a common axis, each scaled to its own largest bin."""
    low, high = axis if axis[1] - axis[0] > 1e-6 else (axis[0] - 0.5, axis[1] + 0.5)
    bins = min(terminal.width(), 100) - LABEL - 1
    terminal.line("")
    terminal.line((title, "bold"))
    counts, above, below = np.zeros((2, bins), np.int64), 0, 0
    for values, held in walk(column, held_out):
        inside = np.clip(values, low, high)
        for count, rows in zip(counts, (~held, held), strict=True):
            count += np.histogram(np.compress(rows, inside), bins, (low, high))[0]
        above += np.count_nonzero(values > high)
        below += np.count_nonzero(values < low)
    for label, count, style in zip(("held in", "held out"), counts, ("blue", "dark_orange"), strict=True):
        for i, bar in enumerate(blocks(count) if count.any() else ()):
            name = label if i == HEIGHT - 1 else ""
            terminal.line((name.ljust(LABEL), "dim"), (bar, style))
    terminal.line(" " * LABEL, (_axis(low, high, bins, above / len(column), below / len(column)), "dim"))


def blocks(counts: Sequence[int] | NDArray[np.integer], height: int = HEIGHT) -> list[str]:
    """Bars of text, top row first; a bin that holds anything is never drawn empty."""
    largest = max(1, max(counts))
    full = len(BLOCKS) - 1
    levels = [0 if count == 0 else max(1, round(count / largest * full * height)) for count in counts]
    return ["".join(BLOCKS[min(full, max(0, n - full * row))] for n in levels) for row in reversed(range(height))]


def _axis(low: float, high: float, bins: int, above: float, below: float) -> str:
    """Numbers under a histogram: both ends, with the share that lies beyond them, and three places between."""
    text = list(" " * bins)
    ends = {"left": f"{low:.3g}", "right": f"{high:.3g}"}
    if below:
        ends["left"] = f"≤{ends['left']} ({below:.1%})"
    if above:
        ends["right"] = f"({above:.1%}) ≥{ends['right']}"
    text[: len(ends["left"])] = ends["left"]
    text[bins - len(ends["right"]) :] = ends["right"]
    for share in (0.25, 0.5, 0.75):
        value = f"{low + share * (high - low):.3g}"
        start = round(share * bins) - len(value) // 2
        if all(c == " " for c in text[start - 1 : start + len(value) + 1]):
            text[start : start + len(value)] = value
    return "".join(text)


def _by_part(parts: Sequence[dict[str, Any]] | None, name: str) -> None:
    """A line for each dimension of the action, or for each version of the behaviour policy."""
    if not parts:
        return
    terminal.line("")
    heads = [key for key in parts[0] if key in PARTS]
    rows = [[str(each[name]), *(_cell(each, (key,)) for key in heads)] for each in parts]
    terminal.table("", [name, *(PARTS[key] for key in heads)], rows, to_right=[PARTS[key] for key in heads])


def _cell(split: dict[str, Any], path: tuple[str, ...]) -> Any:
    value: Any = split
    for key in path:
        value = value[key]
    if value is not None and path[-1] in SHARES:
        return f"{value:.1%}".rjust(8)
    return terminal.cell_text(value).rjust(8)


def _findings(found: Sequence[Any]) -> None:
    terminal.line("")
    for finding in found:
        _wrapped(finding.level, STYLES[finding.level], finding.meaning)


def _verdict(word: str, found: Sequence[Any]) -> None:
    terminal.line("")
    terminal.line("Verdict: ", (word, VERDICTS[word]))
    reasons = [finding for level in ("alarm", "warning") for finding in found if finding.level == level]
    for finding in reasons:
        _wrapped("", "dim", f"{finding.name}: {finding.source}", "dim")
    if not reasons:
        terminal.line("  no threshold was crossed; sources of the thresholds: --json")


def _wrapped(label: str, style: str, text: str, text_style: str = "") -> None:
    """A label and a sentence beside it; on a terminal broken at words, in a pipe one line that grep finds whole."""
    room = min(terminal.width(), 100) - LABEL
    parts = textwrap.wrap(text, room, break_long_words=False) if terminal.is_terminal() else [text]
    for i, part in enumerate(parts):
        terminal.line(((label if i == 0 else "").ljust(LABEL), style), (part, text_style))
