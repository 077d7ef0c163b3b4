"""The file that says which column of a table is which, as a person writes it.

[columns]
observations = ["x", "x_dot", "theta", "theta_dot"]   # or one name, or a pattern: "obs_*"
actions = "push"
rewards = "reward"
log_probs = "logp"                                    # or: probabilities = "propensity"
terminated = "done"
truncated = "cut"
episode = "episode_id"

[log]
environment = "CartPole-v1"
convention = "categorical"
"""

import re
import tomllib
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gipo_cli.data.description import ActionChoices
from gipo_cli.data.trajectories import Convention
from gipo_cli.errors import DataError, SettingError, brief

LARGEST_FILE = 1 << 20
Name = Annotated[str, Field(min_length=1)]
Names = Name | Annotated[list[Name], Field(min_length=1)]


class Columns(BaseModel):
    """Names of columns, as the table has them; a list, or a pattern with `*`, stands for a vector."""

    model_config = ConfigDict(extra="forbid", strict=True)

    observations: Names
    actions: Names
    rewards: Name
    log_probs: Names | None = None  # natural logs; a list is one a dimension
    probabilities: Name | None = None  # probabilities, or densities, in place of their logs
    terminated: Name | None = None
    truncated: Name | None = None
    done: Name | None = None  # either of the two
    episode: Name | None = None  # which episode a row is of: a number or a word
    step: Name | None = None  # number of the row within its episode; rows may then stand in any order
    next_observations: Names | None = None
    pre_squash_actions: Names | None = None
    executed_actions: Names | None = None
    policy_versions: Name | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> "Columns":
        if self.log_probs is not None and self.probabilities is not None:
            raise ValueError("give log_probs or probabilities, not both")
        if self.step is not None and self.episode is None:
            raise ValueError("step numbers the rows of an episode; give episode too")
        return self


class Log(BaseModel):
    """What the table does not say."""

    model_config = ConfigDict(extra="forbid", strict=True)

    environment: str | None = None
    convention: Convention | None = None
    action_choices: ActionChoices | None = None
    action_low: list[float] | None = None
    action_high: list[float] | None = None
    one_step: bool = False  # a bandit: every row is an episode that terminates


class Mapping(BaseModel):
    """A mapping file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    columns: Columns
    log: Log = Log()

    @model_validator(mode="after")
    def _no_ends_of_one_step(self) -> "Mapping":
        ends = [
            n for n in ("terminated", "truncated", "done", "episode", "step") if getattr(self.columns, n) is not None
        ]
        if self.log.one_step and ends:
            raise ValueError(f"one_step makes every row an episode that terminates; leave out {', '.join(ends)}")
        return self


def read_mapping(file: str) -> Mapping:
    """Read a mapping file.

    Raises:
        SettingError: it is missing, no TOML, or has a key that means nothing; the nearest one that does is named.
    """
    try:
        with Path(file).expanduser().open("rb") as opened:
            raw = opened.read(LARGEST_FILE + 1)
    except (OSError, RuntimeError) as error:  # a RuntimeError for ~somebody who has no home here
        said = getattr(error, "strerror", None) or error
        raise SettingError(f"the mapping {file} cannot be read ({said}).") from error
    if len(raw) > LARGEST_FILE:
        raise SettingError(f"{file} is larger than a mapping can be ({LARGEST_FILE >> 20} MiB).")
    try:
        text = raw.decode()
        found = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also a number of too many digits
        raise SettingError(f"{file} is not TOML that can be read ({brief(error)}).") from error
    try:
        return Mapping.model_validate(found)
    except ValidationError as error:
        raise _named(file, text, error) from error


def _named(file: str, text: str, error: ValidationError) -> SettingError:
    """The first mistake, in the words of the file; a misspelt key before the missing one that it should have been."""
    mistakes = error.errors()
    wrong = next((mistake for mistake in mistakes if mistake["type"] == "extra_forbidden"), mistakes[0])
    where = [str(part) for part in wrong["loc"] if isinstance(part, str)]
    section, key = (where[0] if where else ""), (where[1] if len(where) > 1 else "")
    known = {"columns": Columns, "log": Log}
    line = _line_of(text, section, key)
    place = f"{file}, line {line}" if line else file
    if wrong["type"] == "extra_forbidden":
        names = list(known[section].model_fields if key else known)
        near = get_close_matches(key or section, names, n=1)
        hint = f"Did you mean '{near[0]}'?" if near else f"Known: {', '.join(names)}."
        what = f"[{section}] has no key '{key}'" if key else f"there is no section or key '{section}'"
        return SettingError(f"{place}: {what}.", hint)
    if wrong["type"] == "missing":
        what = f"[{section}] lacks '{key}'" if key else f"the section [{section}] is missing"
        return SettingError(f"{place}: {what}.", 'For example: rewards = "reward"' if key else _EXAMPLE)
    said = wrong["msg"].removeprefix("Value error, ")
    return SettingError(f"{place}: {f'[{section}] {key}'.strip() if section else 'the mapping'}: {said}.")


_EXAMPLE = 'For example:\n[columns]\nobservations = ["x", "y"]\nactions = "a"\nrewards = "reward"\nlog_probs = "logp"'


def _line_of(text: str, section: str, key: str) -> int | None:
    """The line of a key within its section, or of the section; none where it stands in a form of its own."""
    current, found = "", None
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[+\s*([^\]]+?)\s*\]", line):
            current = header[1]
            found = number if current == section and found is None else found
        elif re.match(rf"\s*[\"']?{re.escape(key or section)}[\"']?\s*=", line) and current == (section if key else ""):
            return number
    return found


def chosen(place: Path, asked: Names, held: list[str]) -> str | list[str]:
    """The columns that a mapping asks for: a name stays one, a list or a pattern becomes a list.

    Raises:
        DataError: the table has no such column; the nearest one that it has is named.
    """
    found: list[str] = []
    for name in [asked] if isinstance(asked, str) else asked:
        if name in held:
            found.append(name)
            continue
        matching = [column for column in held if fnmatchcase(column, name)] if set("*?") & set(name) else []
        if not matching:
            near = get_close_matches(name, held, n=1)
            hint = f"Did you mean '{near[0]}'?" if near else f"It holds: {', '.join(held[:40]) or 'nothing'}."
            raise DataError(f"{place} has no column '{name}', which the mapping names.", hint)
        found += matching
    return asked if isinstance(asked, str) and asked in held else found
