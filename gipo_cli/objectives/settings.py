"""The settings of an objective: its keyword-only arguments are the schema, so nothing is declared twice."""

import inspect
import math
from collections.abc import Callable, Mapping
from difflib import get_close_matches

import torch
from torch import Tensor

from gipo_cli.errors import SettingError


def settings_of(objective: Callable[..., Tensor]) -> dict[str, float]:
    """Every setting of an objective with its default, in the order of the signature."""
    parameters = inspect.signature(objective).parameters.values()
    return {p.name: float(p.default) for p in parameters if p.kind is p.KEYWORD_ONLY}


def resolve(name: str, objective: Callable[..., Tensor], given: Mapping[str, str | float]) -> dict[str, float]:
    """All settings of an objective: what was given, checked, over the defaults.

    The objective is called once on one sample, so that a value out of its range is refused here, before any training.

    Args:
        name: what the user calls the objective, for messages.
        objective: the function itself.
        given: setting -> value, text as it came from the command line or a number.

    Raises:
        SettingError: an unknown setting, a value that is no finite number, or one that the objective refuses.
    """
    settings = settings_of(objective)
    has = "It has: " + ", ".join(f"{key}={value}" for key, value in settings.items()) + "."
    if not settings:
        has = "It has none."
    for key, value in given.items():
        if key not in settings:
            near = get_close_matches(key, settings, n=1)
            meant = f"Did you mean '{near[0]}'? " if near else ""
            raise SettingError(f"the objective '{name}' has no setting '{key}'.", meant + has)
        settings[key] = _finite(name, key, value, has)
    objective(torch.zeros(1), torch.ones(1), **settings)
    return settings


def require_positive(objective: str, setting: str, value: float) -> None:
    """Refuse a setting that is not a finite number above 0 (nan is neither above nor below).

    Raises:
        SettingError: naming the objective, the setting and the value.
    """
    if not (value > 0 and math.isfinite(value)):
        raise SettingError(f"{setting} of the objective '{objective}' is {value}; expected a number above 0.")


def _finite(name: str, key: str, value: str | float, has: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise SettingError(f"{key} of the objective '{name}' is {value!r}, which is not a number.", has) from None
    if not math.isfinite(number):
        raise SettingError(f"{key} of the objective '{name}' is {number}; expected a finite number.", has)
    return number
