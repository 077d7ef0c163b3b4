"""Which runs are seeds of one method: what their configurations have in common, and a name for it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from gipo_cli.config import TrainConfig
from gipo_cli.data.options import LogOptions
from gipo_cli.errors import SettingError, unknown_name

# What opens a log belongs to the log, and the rest to the machine or to what is written; a seed is what differs in it.
NO_METHOD = {
    "dataset",
    "seed",
    "device",
    "threads",
    "report_every",
    "checkpoint_every",
    "settings",
    "advantage_settings",
}
NO_METHOD |= {item.name for item in fields(LogOptions)}
KNOWN = {item.name: item.default for item in fields(TrainConfig) if item.name not in NO_METHOD}


def method_values(config: Mapping[str, Any]) -> dict[str, Any]:
    """What makes a run's method, by name: settings of the objective and the advantage, then of the training.

    What an older version did not write has the default that it had.
    """
    settings = {**config.get("settings", {}), **config.get("advantage_settings", {})}
    trained = {name: config.get(name, default) for name, default in KNOWN.items()}
    return {**settings, **{k: v for k, v in trained.items() if v is not MISSING and k not in settings}}


def name_methods(values: Sequence[Mapping[str, Any]], by: Sequence[str] = ()) -> list[str]:
    """A name for the method of each run; runs with one name are seeds of one method.

    It is the objective and what differs between the runs given, as in `gipo sigma=0.5`: a setting where runs of the
    same objective differ in it, anything else where any two runs do.

    Args:
        values: of each run, from `method_values`.
        by: make the name of these alone.

    Raises:
        SettingError: a name in `by` is none that the runs have.
    """
    every = list(dict.fromkeys(name for run in values for name in run))
    for name in by:
        if name in ("seed", "dataset"):
            raise SettingError(f"--by {name} makes no method.", "Runs are told apart by log and seed in any case.")
        if name not in every:
            error = unknown_name("setting", name, every)
            raise SettingError(f"--by: {error.message}", error.hint)
    chosen = list(by) or ["objective", *_differing(values, every)]
    short = [_name(run, chosen, short=True) for run in values]
    full = [_name(run, chosen, short=False) for run in values]
    alike = {name for name in short if len({f for s, f in zip(short, full, strict=True) if s == name}) > 1}
    return [f if s in alike else s for s, f in zip(short, full, strict=True)]


def differing(values: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names in which runs differ."""
    every = dict.fromkeys(name for run in values for name in run)
    return [name for name in every if len({_text(run.get(name)) for run in values}) > 1]


def _differing(values: Sequence[Mapping[str, Any]], every: Sequence[str]) -> list[str]:
    same = {run["objective"]: [other for other in values if other["objective"] == run["objective"]] for run in values}
    apart = {name for runs in same.values() for name in differing(runs)}
    common = {name for name in differing(values) if all(name in run for run in values)}
    return [name for name in every if name in apart | common and name != "objective"]


def _name(run: Mapping[str, Any], chosen: Sequence[str], *, short: bool) -> str:
    parts = [
        str(run[name]) if name == "objective" else f"{name}={_shown(run[name], short)}"
        for name in chosen
        if name in run
    ]
    return " ".join(parts) or f"no {', '.join(chosen)}"


def _shown(value: Any, short: bool) -> str:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"{value:.6g}" if short else f"{value:.17g}"
    if isinstance(value, str) and short and "/" in value:
        return "/".join(Path(value).parts[-2:])  # a place of its own has a name long enough
    if value == "" and short:
        return "none"
    return value if isinstance(value, str) and value else _text(value)


def _text(value: Any) -> str:
    """The same for equal values: 1 and 1.0 are, in a file that a person wrote; false and 0 are not."""
    if isinstance(value, (list, tuple)):
        return ",".join(map(_text, value))
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return f"{value:.17g}" if number else json.dumps(value)
