"""Gates: what a user will not have in a result, as expressions over the document that a command prints with --json."""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from difflib import get_close_matches
from operator import eq, ge, gt, le, lt, ne
from typing import Any

from gipo_cli.errors import ExitCode, GipoError, SettingError

OPERATORS: dict[str, Callable[[Any, Any], bool]] = {"<=": le, ">=": ge, "==": eq, "!=": ne, "<": lt, ">": gt}
EXPRESSION = re.compile(r"\s*(?P<key>\S.*?)\s*(?P<operator><=|>=|==|!=|<|>)\s*(?P<bound>\S.*?)\s*")
WORDS = {"true": True, "false": False, "null": None}
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
        if value is None or self.bound is None:
            return not (OPERATORS[self.operator](value, self.bound)) if self.bound is None else False
        return not OPERATORS[self.operator](value, self.bound)


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
    if found["operator"] not in ("==", "!=") and not _is_number(bound):
        raise SettingError(
            f"--fail-if {expression!r}: {found['bound']} is no finite number, which {found['operator']} compares.",
            "Words, true, false and null can be compared with == and !=.",
        )
    return Gate(expression, found["key"], found["operator"], bound)


def _value(text: str) -> Value:
    if text in WORDS:
        return WORDS[text]
    try:
        number = float(text)
    except ValueError:
        return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text
    return number if math.isfinite(number) else text


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


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


def judge(gates: Sequence[Gate], document: Any) -> list[dict[str, Any]]:
    """What each gate found: its expression, the path of its value, the value, and whether it held.

    Raises:
        SettingError: a key names no value, or several, or a number is asked of what is none.
    """
    values = flatten(document)
    found = []
    for gate in gates:
        path = _unknown(gate.key, values) or find(gate.key, values, gate.expression)
        value = values[path]
        if gate.operator not in ("==", "!=") and value is not None and not _is_number(value):
            raise SettingError(f"--fail-if {gate.expression!r}: {path} is {value!r}, no number.")
        found.append({"expression": gate.expression, "key": path, "value": value, "held": gate.holds(value)})
    return found


def _unknown(key: str, values: Mapping[str, Value]) -> str | None:
    """The path above a key whose value is not known, so that nothing below it is there: score, of score.lower."""
    above = key.rpartition(".")[0]
    while above:
        nothing = [path for path, value in values.items() if value is None and f".{path}".endswith(f".{above}")]
        if len(nothing) == 1:
            return nothing[0]
        above = above.rpartition(".")[0]
    return None


def pass_through(gates: Sequence[Gate], document: dict[str, Any]) -> None:
    """Add to a document what the gates found in it, under `gates`; nothing where there are none.

    Raises:
        SettingError: as `judge`.
    """
    if gates:
        document["gates"] = judge(gates, document)


def require_known(gates: Sequence[Gate], keys: Iterable[str]) -> None:
    """Refuse a key that the result of long work will not have, before the work.

    Raises:
        SettingError: as `judge`.
    """
    keys = list(keys)
    for gate in gates:
        find(gate.key, keys, gate.expression)


def enforce(judged: Sequence[Mapping[str, Any]]) -> None:
    """End the command with exit code 4 where a gate did not hold; say on stderr where all did.

    Raises:
        GateError: says of each such gate what the value is.
    """
    from gipo_cli.rendering import terminal

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
