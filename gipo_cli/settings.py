"""Settings of a function: its keyword-only arguments with a default are the schema, so nothing is declared twice.

A range is declared where the setting is: `smooth: Annotated[float, Expected("a number from 0 to 1", ...)] = 1.0`.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any, get_type_hints

from gipo_cli.errors import SettingError


@dataclass(frozen=True)
class Expected:
    """What a setting has to be, in words that end an error message, and as a test."""

    words: str
    holds: Callable[[float], bool]


Fraction = Annotated[float, Expected("a number from 0 to 1", lambda value: 0 <= value <= 1)]
Positive = Annotated[float, Expected("a number above 0", lambda value: value > 0)]


def settings_of(function: Callable[..., Any]) -> dict[str, float]:
    """Every setting of a function with its default, in the order of the signature."""
    parameters = inspect.signature(function).parameters.values()
    return {p.name: float(p.default) for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is not p.empty}


def resolve(kind: str, name: str, function: Callable[..., Any], given: Mapping[str, str | float]) -> dict[str, float]:
    """All settings of a function: what was given, checked against the ranges it declares, over the defaults.

    Args:
        kind: of what the function is, for messages: "objective".
        name: what the user calls it, for messages.
        function: the thing itself.
        given: setting -> value, text as it came from the command line or a number.

    Raises:
        SettingError: an unknown setting, a value that is no finite number, or one out of its range.
    """
    settings = settings_of(function)
    has = "It has: " + ", ".join(f"{key}={value}" for key, value in settings.items()) + "."
    if not settings:
        has = "It has none."
    for key, value in given.items():
        if key not in settings:
            near = get_close_matches(key, settings, n=1)
            meant = f"Did you mean '{near[0]}'? " if near else ""
            raise SettingError(f"the {kind} '{name}' has no setting '{key}'.", meant + has)
        settings[key] = _finite(f"{key} of the {kind} '{name}'", value, has)
    hints = get_type_hints(function, include_extras=True)
    for key, value in settings.items():
        for expected in getattr(hints.get(key), "__metadata__", ()):
            if not expected.holds(value):
                raise SettingError(f"{key} of the {kind} '{name}' is {value}; expected {expected.words}.")
    return settings


def _finite(what: str, value: str | float, has: str) -> float:
    try:
        if isinstance(value, bool):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError):
        raise SettingError(f"{what} is {value!r}, which is not a number.", has) from None
    if not math.isfinite(number):
        raise SettingError(f"{what} is {number}; expected a finite number.", has)
    return number
