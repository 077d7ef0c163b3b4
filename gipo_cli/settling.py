"""From what a user wrote - a file, flags, --set - to the configuration of a run, checked and filled in."""

import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from gipo_cli.config import TrainConfig, from_values
from gipo_cli.errors import SettingError, unknown_name

FIRST = ("objective", "advantage", "settings", "advantage_settings")  # they say what other names mean
DEFAULTS = {field.name: field.default for field in fields(TrainConfig)}


def settle(values: Mapping[str, Any], named: Iterable[tuple[str, Any]], source: str) -> TrainConfig:
    """The configuration of a run; the settings of objective and estimator are checked and filled in.

    Args:
        values: by the names of `TrainConfig`, with the tables `settings` and `advantage_settings`.
        named: names and values over those; whose each is, the objective's, the estimator's or the run's, is found out.
        source: where they come from, for messages.

    Raises:
        SettingError: an unknown name, a value of the wrong type, or one out of its range; or two that rule each other
            out.
    """
    from gipo_cli import settings
    from gipo_cli.objectives.settings import resolve
    from gipo_cli.registry import ADVANTAGES, OBJECTIVES
    from gipo_cli.training.width import require_width

    named = list(named)
    values = {**values, **{name: value for name, value in named if name in FIRST}}
    objective, advantage = (values.get(name, DEFAULTS[name]) for name in ("objective", "advantage"))
    _require_kinds(values, source)
    function, estimator = OBJECTIVES.load(objective), ADVANTAGES.load(advantage)
    given, given_advantage = (dict(values.pop(name, {})) for name in ("settings", "advantage_settings"))
    for name, value in named:
        if name in FIRST:
            continue
        if name in settings.settings_of(function):
            given[name] = value
        elif name in settings.settings_of(estimator):
            given_advantage[name] = value
        elif name in DEFAULTS:
            values[name] = value
        else:
            _refuse_near(name, [*settings.settings_of(estimator), *DEFAULTS])
            given[name] = value  # the objective says what it has
    if "sigma" in dict(named):  # a width that is steered would be another one from the first report on
        _refuse_steering(dict(named))
        values["steer_sigma"] = ""
    values["settings"] = resolve(objective, function, given)
    values["advantage_settings"] = settings.resolve(ADVANTAGES.kind, advantage, estimator, given_advantage)
    settled = from_values(values, source)
    require_width(settled)
    return replace(settled, dataset=_lasting_name(settled.dataset))


def _require_kinds(values: Mapping[str, Any], source: str) -> None:
    """What is looked at before the configuration is built has to be of the kind that it is looked at as."""
    for names, kind, word in (
        (("objective", "advantage"), str, "a name"),
        (("settings", "advantage_settings"), dict, "a table"),
    ):
        for name in names:
            if not isinstance(values.get(name, kind()), kind):
                raise SettingError(f"{source}: {name} is {values[name]!r}; expected {word}.")


def _refuse_steering(named: Mapping[str, Any]) -> None:
    """Refuse a width that is to be steered as well: steering begins at one of its own."""
    if by := named.get("steer_sigma"):
        raise SettingError(
            f"sigma={named['sigma']} and steer_sigma={by} rule each other out: what is steered begins at its target.",
            "Leave one of them out.",
        )


def _refuse_near(name: str, known: list[str]) -> None:
    """Refuse a name that is nearly one of a setting that is not the objective's."""
    if get_close_matches(name, known, n=1, cutoff=0.8):
        raise unknown_name("setting", name, known)


def assigned(assignments: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """Names and values of `--set NAME=VALUE`.

    Raises:
        SettingError: there is no value.
    """
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not equals:
            raise SettingError(f"--set {assignment!r} has no value.", "Write --set NAME=VALUE, as in --set sigma=0.5.")
        yield name, _toml_value(text) if name in DEFAULTS else text


def width_named(given: Any) -> tuple[str, Any]:
    """What `sigma` means: a width, or that it is steered."""
    return ("steer_sigma", "kl") if given == "auto" else ("sigma", given)


def _lasting_name(dataset: str) -> str:
    """A path is made absolute, so that config.toml repeats the run from any directory."""
    try:
        return str(Path(dataset).resolve()) if Path(dataset).exists() else dataset
    except OSError:  # too long for a path; whoever opens it says so
        return dataset


def _toml_value(text: str) -> Any:
    """What a value on the command line means: as TOML reads it, or the text itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        return text


def read_toml(path: Path, what: str) -> dict[str, Any]:
    """A file that a user wrote; `what` names it in messages.

    Raises:
        SettingError: it cannot be read, or is not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        raise SettingError(f"{what}{path} cannot be read ({reason}).") from error
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SettingError(f"{what}{path} is not TOML ({error}).") from error
