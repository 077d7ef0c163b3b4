"""Gates: what a user will not have in a result, as expressions over the document that a command prints with --json."""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from difflib import get_close_matches
from operator import eq, ge, gt, le, lt, ne
from typing import Any

from gipo_cli.errors import ExitCode, GipoError, SettingError, unknown_name

OPERATORS: dict[str, Callable[[Any, Any], bool]] = {"<=": le, ">=": ge, "==": eq, "!=": ne, "<": lt, ">": gt}
EXPRESSION = re.compile(r"\s*(?P<key>\S.*?)\s*(?P<operator><=|>=|==|!=|<|>)\s*(?P<bound>\S.*?)\s*")
WORDS = {"true": True, "false": False, "null": None}  # in any case
KINDS = {float: "a number", str: "a word", bool: "true or false"}
# What a value may be, by the end of its key: a gate on another word would hold for ever.
VOCABULARIES = {
    "verdict": ("trust", "caution", "distrust"),
    **dict.fromkeys(("offline.verdict", "offline.over_start.verdict"), ("better", "not better", "cannot be known")),
    "status": ("running", "finished", "interrupted", "failed", "diverged"),
    "level": ("ok", "note", "warning", "alarm"),
    "severity": ("ok", "warning", "error"),
    "kept": ("trained policy", "starting policy"),
}
NAMES = ("name", "method", "log")  # what an item of a list is called, where its items have one of these
SHOWN = 3  # keys that an error suggests

Value = float | str | bool | None


class GateError(GipoError):
    """A gate that the user asked for did not hold; the result itself is whole and was printed."""

    exit_code = ExitCode.GATE


@dataclass(frozen=True)
class Gate:
    """`KEY OPERATOR VALUE`: the command fails where it is true of the result, or where the value is not known.

    A key is the dotted path of a value in the document; so much of its beginning may be left out as leaves one path.
    An item of a list is named by its name, method or log, where it has one, else by its number from 0.
    """

    expression: str
    key: str
    operator: str
    bound: Value

    def holds(self, value: Value) -> bool:
        """Whether the result passes; a value that is not known passes only a gate that asks for null itself."""
        if value is None and self.bound is not None:
            return False
        value, bound = (part.casefold() if isinstance(part, str) else part for part in (value, self.bound))
        return not OPERATORS[self.operator](value, bound)

    def require(self, path: str, kind: type | None) -> None:
        """Refuse a comparison that no value of a kind could make true, or false: it would be no gate.

        Args:
            path: of the value.
            kind: float, str or bool; none where nothing is known of it.

        Raises:
            SettingError: it asks another kind of thing, or a word that the value never is.
        """
        if kind is None or self.bound is None:
            return
        if _kind(self.bound) is not kind:
            is_, asked = KINDS[kind], KINDS[_kind(self.bound)]
            raise SettingError(f"--fail-if {self.expression!r}: {path} is {is_}, and {self.bound!r} {asked}.")
        known = VOCABULARIES.get(path) or VOCABULARIES.get(path.rpartition(".")[2])
        if known and isinstance(self.bound, str) and self.bound.casefold() not in known:
            error = unknown_name(path.rpartition(".")[2], self.bound, known)
            raise SettingError(f"--fail-if {self.expression!r}: {error.message}", error.hint)


def parse_gates(expressions: Iterable[str] | None) -> list[Gate]:
    """Gates from what was typed, before any work is done for them.

    Raises:
        SettingError: an expression is none.
    """
    return [_parse(expression) for expression in expressions or ()]


def _parse(expression: str) -> Gate:
    found = EXPRESSION.fullmatch(expression)
    if found is None:
        raise SettingError(
            f"--fail-if {expression!r} is no comparison.",
            "Expected KEY OPERATOR VALUE, as in --fail-if 'held_out.ess_fraction < 0.3'; operators: "
            f"{' '.join(OPERATORS)}",
        )
    bound = _value(found["bound"])
    if found["key"][-1] in "=<>!":
        raise SettingError(
            f"--fail-if {expression!r} has no operator that there is.", f"Operators: {' '.join(OPERATORS)}"
        )
    if found["operator"] not in ("==", "!=") and _kind(bound) is not float:
        raise SettingError(
            f"--fail-if {expression!r}: {found['bound']} is no finite number, which {found['operator']} compares.",
            "Words, true, false and null can be compared with == and !=.",
        )
    return Gate(expression, found["key"], found["operator"], bound)


def _value(text: str) -> Value:
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    try:
        number = float(text)
    except ValueError:
        return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text
    return number if math.isfinite(number) else text


def _kind(value: Value) -> type | None:
    if value is None:
        return None
    return type(value) if isinstance(value, bool | str) else float


def flatten(document: Any, path: str = "") -> dict[str, Value]:
    """Every single value of a document by its dotted path."""
    if is_dataclass(document):
        document = vars(document)
    if not isinstance(document, Mapping | list | tuple):
        return {path: document}
    items = document.items() if isinstance(document, Mapping) else zip(_names(document), document, strict=True)
    found: dict[str, Value] = {}
    for name, item in items:
        found |= flatten(item, f"{path}.{name}" if path else str(name))
    return found


def _names(items: Sequence[Any]) -> list[str]:
    for name in NAMES:
        called = [item.get(name) if isinstance(item, Mapping) else getattr(item, name, None) for item in items]
        if all(isinstance(word, str) for word in called) and max(Counter(called).values(), default=1) == 1:
            return [str(word) for word in called]
    return [str(i) for i in range(len(items))]


def find(key: str, keys: Iterable[str], expression: str) -> str:
    """The one path that a key names.

    Raises:
        SettingError: there is none, or several.
    """
    keys = list(keys)
    if key in keys:
        return key
    ending = [path for path in keys if path.endswith(f".{key}")]
    if len(ending) == 1:
        return ending[0]
    if ending:
        raise SettingError(
            f"--fail-if {expression!r}: {len(ending)} values are called {key}.",
            f"Say which: {', '.join(ending[:SHOWN])}{', ...' if len(ending) > SHOWN else ''}",
        )
    near = _nearest(key, keys)
    raise SettingError(
        f"--fail-if {expression!r}: the result has no {key}.",
        f"Did you mean {' or '.join(near)}?" if near else "--json shows the keys there are.",
    )


def _nearest(key: str, keys: list[str]) -> list[str]:
    """Paths that end almost as the key does."""
    parts = key.count(".") + 1
    endings = {".".join(path.split(".")[-parts:]): path for path in keys}
    return [endings[ending] for ending in get_close_matches(key, endings, n=2)]


def judge(gates: Sequence[Gate], document: Any, *, partial: bool = False) -> list[dict[str, Any]]:
    """What each gate found: its expression, the path of its value, the value, and whether it held.

    Args:
        gates: asked for.
        document: the result.
        partial: of work that has not ended; a key that it lacks is not known, and no mistake.

    Raises:
        SettingError: a key names no value, or several, or a value of another kind than it is compared with.
    """
    values = flatten(document)
    found = []
    for gate in gates:
        path = _path(gate, values, partial)
        value = values.get(path)
        gate.require(path, _kind(value))
        found.append({"expression": gate.expression, "key": path, "value": value, "held": gate.holds(value)})
    return found


def _path(gate: Gate, values: Mapping[str, Value], partial: bool) -> str:
    """Where the value is; the path above, where that is not known and nothing below it is there."""
    try:
        return find(gate.key, values, gate.expression)
    except SettingError:
        unknown = _unknown(gate.key, values) or (gate.key if partial else None)
        if unknown is None:
            raise
        return unknown


def _unknown(key: str, values: Mapping[str, Value]) -> str | None:
    """The path above a key whose value is not known, so that nothing below it is there: score, of score.lower."""
    above = key.rpartition(".")[0]
    while above:
        nothing = [path for path, value in values.items() if value is None and f".{path}".endswith(f".{above}")]
        if len(nothing) == 1:
            return nothing[0]
        above = above.rpartition(".")[0]
    return None


def pass_through(gates: Sequence[Gate], document: dict[str, Any]) -> SettingError | None:
    """Add to a document what the gates found in it, under `gates`; nothing where there are none.

    Returns:
        What is wrong with a gate, for `enforce` to raise once the result was printed.
    """
    if not gates:
        return None
    try:
        document["gates"] = judge(gates, document)
    except SettingError as error:
        return error
    return None


def require_known(gates: Sequence[Gate], kinds: Mapping[str, type]) -> None:
    """Refuse a gate that the result of long work cannot answer, before the work.

    Args:
        gates: asked for.
        kinds: of every value that the result will have, by its path: float, str or bool.

    Raises:
        SettingError: as `judge`.
    """
    for gate in gates:
        path = find(gate.key, kinds, gate.expression)
        gate.require(path, kinds[path])


def enforce(judged: Sequence[Mapping[str, Any]], problem: SettingError | None = None) -> None:
    """End the command with exit code 4 where a gate did not hold; say on stderr where all did.

    Raises:
        SettingError: the problem, where there was one.
        GateError: says of each such gate what the value is.
    """
    from gipo_cli.rendering import terminal

    if problem is not None:
        raise problem
    failed = [gate for gate in judged if not gate["held"]]
    if judged and not failed:
        terminal.note(f"{len(judged)} gate{'s' if len(judged) > 1 else ''} held.")
    if failed:
        lines = [f"{gate['key']} is {_shown(gate['value'])}: --fail-if {gate['expression']!r}" for gate in failed]
        raise GateError(f"{len(failed)} of {len(judged)} gates did not hold.", "\n".join(lines))


def _shown(value: Value) -> str:
    if value is None:
        return "not known"
    return f"{value:.6g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)
