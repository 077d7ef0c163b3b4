"""Runs side by side as a person reads them: a table by log and method, one over logs; the same as Markdown."""

from typing import Any

from gipo_cli.rendering import markdown as markdown_text
from gipo_cli.rendering import terminal

HEADS = ("seeds", "return", "modes", "score", "gain", "ESS", "KL", "kept", "seconds", "updates/s")
SPARE = ("updates/s", "seconds", "KL", "modes", "kept", "ESS", "score")  # what a narrow terminal goes without
LEGEND = (
    "return: of sampled actions, ± half of a 95 % interval over seeds (Student's t).",
    "modes: return of the likeliest actions. ESS, KL: of held-out steps, as trained.",
    "*: one policy, ± standard error over episodes; other seeds may lie far outside.",
)
ONE_POLICY = "*"
OVER_HEADS = ("runs", "IQM of scores", "mean score")
BETTER = "P(better)"


def print_comparison(document: dict[str, Any]) -> None:
    """Print the tables on stdout; notes are left to whoever calls.

    Args:
        document: what `gipo compare --json` prints.
    """
    rows = []
    for table in document["logs"]:
        rows.append([table["log"], *[""] * len(HEADS)])
        rows += [[f"  {name}", *cells] for name, cells in _rows(table)]
    terminal.table("", ["log and method", *HEADS], rows, SPARE, HEADS)
    for text in LEGEND:
        terminal.line((text, "dim"))
    over, heads = _over_logs(document)
    if over:
        terminal.line("")
        spare = [name for name in ("mean score",) if name in heads]
        terminal.table(_over_title(document), ["method", *heads], over, spare, heads)
        if BETTER in heads:
            terminal.line((_better(document), "dim"))


def comparison_table(document: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Heads and rows by log and method, as text."""
    rows = [[table["log"], name, *cells] for table in document["logs"] for name, cells in _rows(table)]
    return ["log", "method", *HEADS], rows


def markdown(document: dict[str, Any]) -> str:
    """The same tables for a file that is kept, notes below them."""
    lines = [*markdown_text.table(*comparison_table(document), 2), "", *(text.replace("*", r"\*") for text in LEGEND)]
    over, heads = _over_logs(document)
    if over:
        lines += [
            "",
            f"{markdown_text.escaped(_over_title(document))}:",
            "",
            *markdown_text.table(["method", *heads], over, 1),
        ]
        lines += ["", markdown_text.escaped(_better(document))] if BETTER in heads else []
    lines += [""] * bool(document["notes"]) + [f"* {markdown_text.escaped(note)}" for note in document["notes"]]
    return "\n".join(lines)


def _rows(table: dict[str, Any]) -> list[tuple[str, list[str]]]:
    """The cells of a log, one row a method and one for the behaviour policy."""
    behaviour = table["behaviour"]
    name = "behaviour" if behaviour["from"] == "rollouts" else "behaviour, as logged"
    sampled = {**behaviour["stochastic"], "over": "episodes"}
    own = ["", _return(sampled), _number(behaviour["deterministic"]), _number(behaviour["score"], ".1f")]
    return [*((cell["method"], _cells(cell)) for cell in table["cells"]), (name, [*own, *[""] * 6])]


def _cells(cell: dict[str, Any]) -> list[str]:
    kept, score = cell["kept"], cell["score"]
    return [
        _seeds(cell),
        _return(cell["stochastic"]),
        _number(cell["deterministic"]),
        "–" if score is None else _number(score["mean"], ".1f"),
        _return(cell["gain"], "+,"),
        _number(cell["ess_fraction"], ".0%"),
        _number(cell["kl"], ".2f"),
        "–" if kept is None else f"{kept['trained']}/{kept['trained'] + kept['starting']}",
        _number(cell["seconds"]),
        _number(cell["updates_per_second"]),
    ]


def _seeds(cell: dict[str, Any]) -> str:
    """How many count; of how many, where some are not evaluated; and what became of the others."""
    count, finished = len(cell["seeds"]), cell["finished"]
    shown = f"{count}" if count == finished else f"{count} of {finished}"
    others = ", ".join(f"{n} {status}" for status, n in cell["unfinished"].items())
    return shown + (f" ({others})" if others else "")


def _return(found: dict[str, Any] | None, form: str = ",") -> str:
    if found is None or found["mean"] is None:
        return "–"
    one = found["over"] == "episodes"
    half = found["standard_error"] if one else (found["upper"] - found["lower"]) / 2
    precise = form + _digits(found["mean"] if half is None else half)
    spread = "" if half is None else f" ± {half:,{_digits(half)}}{ONE_POLICY if one else ''}"
    return f"{found['mean']:{precise}}{spread}"


def _number(value: float | None, form: str = "") -> str:
    return "–" if value is None else f"{value:{form or ',' + _digits(value)}}"


def _digits(value: float) -> str:
    """Decimals that a return of this size deserves: none from 10 on."""
    return ".0f" if abs(value) >= 10 or value == 0 else ".1f" if abs(value) >= 1 else ".2f"


def _over_title(document: dict[str, Any]) -> str:
    logs = document["aggregate"]["logs"]
    over = f"Over {len(logs)} log{'s' * (len(logs) > 1)}" if logs else "Over logs"
    return f"{over}, 95 % intervals by resampling seeds within each"


def _better(document: dict[str, Any]) -> str:
    baseline = document["improvement"]["baseline"]
    return f"P(better): a run beats one of '{baseline}' on the same log."


def _over_logs(document: dict[str, Any]) -> tuple[list[list[str]], list[str]]:
    """Rows and heads of the table over logs; no rows where there is nothing to say."""
    aggregate = {row["method"]: row for row in document["aggregate"]["methods"]}
    improvement = {row["method"]: row["probability"] for row in document["improvement"]["methods"]}
    heads = [*(OVER_HEADS if aggregate else ()), *([BETTER] if improvement else ())]
    rows = []
    for method in document["methods"] if heads else ():
        row = aggregate.get(method)
        cells = [] if row is None else [str(row["runs"]), _bounded(row["iqm"], ".1f"), _bounded(row["mean"], ".1f")]
        rows.append([method, *cells, *([_bounded(improvement.get(method), ".2f")] if improvement else ())])
    return rows, heads


def _bounded(found: dict[str, Any] | None, form: str) -> str:
    if found is None:
        return "–"
    bounds = "" if found["lower"] is None else f" ({found['lower']:{form}} to {found['upper']:{form}})"
    return f"{found['value']:{form}}{bounds}"
