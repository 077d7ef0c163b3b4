"""The settings of an objective, checked by trying them."""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

import gipo_cli.settings
from gipo_cli.errors import SettingError


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
    settings = gipo_cli.settings.resolve("objective", name, objective, given)
    objective(torch.zeros(1), torch.ones(1), **settings)
    return settings


def require_positive(objective: str, setting: str, value: float | Tensor) -> None:
    """Refuse a setting that is not a finite number above 0 (nan is neither above nor below).

    A tensor holds what several members have of it, side by side: each was checked as a number before, and to look at it
    here would wait for its device.

    Raises:
        SettingError: naming the objective, the setting and the value.
    """
    if not isinstance(value, Tensor) and not (value > 0 and math.isfinite(value)):
        raise SettingError(f"{setting} of the objective '{objective}' is {value}; expected a number above 0.")
