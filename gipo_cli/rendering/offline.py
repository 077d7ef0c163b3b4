"""An estimate by the log alone as a person reads it: every estimator, and the verdict."""

import textwrap
from typing import Any

from gipo_cli.rendering import terminal

STYLES = {"better": "bold green", "not better": "bold red", "cannot be known": "bold yellow"}
HEADS = ["", "value", "interval", "gain", "interval of the gain"]
ESTIMATED = "The log-probs are estimated: every ratio is off by the clone's own error."
WIDTH = 98  # columns of text


def print_offline(document: dict[str, Any]) -> None:
    """Print what `gipo evaluate --offline --json` holds."""
    found = document["offline"]
    terminal.table(which_episodes(document["dataset"], found), HEADS, offline_rows(found), to_right=HEADS[1:])
    for text in refusals(found):
        for line in textwrap.wrap(text, WIDTH, subsequent_indent="  "):
            terminal.line(line)
    if document["log_probs"] == "estimated":
        terminal.line(ESTIMATED)
    terminal.line("")
    _verdict("Verdict: ", found, found["level"])
    if found["over_start"]:
        _verdict("Over the start of --init: ", found["over_start"], found["level"])


def _verdict(label: str, found: dict[str, Any], level: float) -> None:
    """A word, and why; what does not fit beside it goes below."""
    word = found["verdict"]
    first, *rest = textwrap.wrap(verdict_text(found, level), WIDTH - len(label))
    terminal.line(label, (word, STYLES[word]), first.removeprefix(word))
    for line in rest:
        terminal.line(" " * len(label) + line)


def verdict_text(found: dict[str, Any], level: float) -> str:
    """The word, at which level, the gain with its interval where it is known, and why."""
    gain = found["gain"]
    known = "" if gain["lower"] is None else f", {_number(gain['mean'], '+')}, {_interval(gain, '+')}"
    return f"{found['verdict']} at {level:.0%}{known}: {found['reason']}."


def which_episodes(dataset: dict[str, Any], found: dict[str, Any]) -> str:
    """What the numbers are of, in one line."""
    which = "held-out episodes" if dataset["trained_on"] else "episodes, each judged by what the other half taught"
    of = f"{dataset['name']}: {found['episodes']:,} {which}"
    return f"{of}; discounted return, gamma {found['discount']:g}"


def offline_rows(found: dict[str, Any]) -> list[list[str]]:
    """A row for the behaviour policy, and one for each estimator that was not refused."""
    rows = [["behaviour", _number(found["behaviour"]["mean"]), _interval(found["behaviour"]), "", ""]]
    for name, estimate in found["estimators"].items():
        if not estimate["refused"]:
            value, gain = estimate["value"], estimate["gain"]
            cells = (_number(value["mean"]), _interval(value), _number(gain["mean"], "+"), _interval(gain, "+"))
            rows.append([name, *cells])
    return rows


def refusals(found: dict[str, Any]) -> list[str]:
    """Which estimators were refused, those with one reason together."""
    by_reason: dict[str, list[str]] = {}
    for name, estimate in found["estimators"].items():
        if estimate["refused"]:
            by_reason.setdefault(estimate["refused"], []).append(name)
    return [f"refused: {', '.join(names)}: {reason}." for reason, names in by_reason.items()]


def _number(value: float | None, sign: str = "") -> str:
    if value is None:
        return "–"
    digits = 0 if abs(value) >= 1000 else 1 if abs(value) >= 10 else 3
    return f"{value:{sign},.{digits}f}"


def _interval(found: dict[str, Any], sign: str = "") -> str:
    if found["lower"] is None:
        return "–"
    return f"{_number(found['lower'], sign)} to {_number(found['upper'], sign)}"
