"""A job file: a matrix of settings, what is left out of it and added to it, and jobs of their own, all in TOML."""

import itertools
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from gipo_cli.batch.clusters import CLUSTERS
from gipo_cli.batch.clusters import require_known as require_known_to_cluster
from gipo_cli.batch.lines import line_of
from gipo_cli.config import TrainConfig
from gipo_cli.errors import GipoError, SettingError, unknown_name
from gipo_cli.gates import parse_gates, require_known
from gipo_cli.settling import read_toml, settle, width_named
from gipo_cli.summary import kinds

TABLES = ("defaults", "matrix", "exclude", "include", "job", *CLUSTERS)
MOST = 100_000  # jobs of one file
LONGEST_NAME = 200  # bytes of a directory's name, with room for what a file system allows beyond
# What lies in a batch directory beside its runs.
JOBS, STATE, BATCH_LOCK, COPY, CONFIGS, LOGS, SLURM = RESERVED = (
    "jobs.json", "batch.json", "batch.lock", "jobs.toml", "configs", "logs", "slurm",
)  # fmt: skip

Where = tuple[str | int, ...]  # keys and numbers that lead to a place in the file
Refuse = Callable[..., SettingError]  # an error from a place, a message and a hint


@dataclass(frozen=True)
class Job:
    """One training run of a batch."""

    name: str
    given: dict[str, Any]  # what the file says of this job beyond the defaults
    config: TrainConfig
    fail_if: tuple[str, ...]
    dataset_line: str  # FILE:LINE, for an error that shows once the log is looked for


@dataclass(frozen=True)
class JobFile:
    """What a file asks for, checked and written out."""

    path: Path
    text: str
    jobs: list[Job]
    clusters: dict[str, dict[str, Any]]  # what each is asked for, by the executor's name


@dataclass(frozen=True)
class _Asked:
    """A job before it is checked, and where in the file it comes from."""

    values: dict[str, Any]
    fail_if: list[str]
    name: str
    where: Where  # its table
    places: dict[str, Where]  # of each key


def read_jobs(path: Path) -> JobFile:
    """Read, expand and check a job file: every setting of every job, every gate, every name.

    Raises:
        SettingError: something is wrong; the message begins with the file and the line.
    """
    document = read_toml(path, "")
    text = path.read_text(encoding="utf-8")

    @cache
    def line(where: Where) -> str:
        return f"{path}:{line_of(text, where)}"

    def refuse(where: Where, message: str, hint: str = "") -> SettingError:
        return SettingError(f"{line(where)}: {message}", hint)

    for name in document:
        if name not in TABLES:
            error = unknown_name("table", name, TABLES)
            raise refuse((name,), error.message, error.hint)
    if not isinstance(document.get("defaults", {}), dict):
        raise refuse(("defaults",), "defaults is no table.", "Write [defaults].")
    clusters = {name: _cluster(name, document[name], refuse) for name in CLUSTERS if name in document}
    jobs: dict[str, Job] = {}
    for asked in _expanded(document, refuse):
        job = _checked(asked, document.get("defaults", {}), refuse, line)
        if job.name in jobs:
            raise refuse(asked.where, f"two jobs are called {job.name}.", "Leave one out, or name one: name = ...")
        jobs[job.name] = job
    if not jobs:
        raise SettingError(f"{path} has no jobs.", "Write a [matrix], as in:\n[matrix]\ndataset = ['hopper-medium']")
    return JobFile(path, text, list(jobs.values()), clusters)


def _cluster(name: str, table: Any, refuse: Refuse) -> dict[str, Any]:
    if not isinstance(table, dict):
        raise refuse((name,), f"{name} is no table.", f"Write [{name}].")
    for key, value in table.items():
        try:
            require_known_to_cluster(name, key, value)
        except SettingError as error:
            raise refuse((name, key), error.message, error.hint) from error
    return table


def _expanded(document: Mapping[str, Any], refuse: Refuse) -> Iterator[_Asked]:
    """Combinations of each matrix less those excluded, with what is included; then the jobs of their own."""
    excluded = [(("exclude", n), table) for n, table in enumerate(_tables(document, "exclude", refuse))]
    included = [(("include", n), table) for n, table in enumerate(_tables(document, "include", refuse))]
    axes = set()
    fits_some: set[Where] = set()
    for n, matrix in enumerate(_tables(document, "matrix", refuse)):
        where: Where = ("matrix", n) if isinstance(document["matrix"], list) else ("matrix",)
        axes |= set(matrix)
        for values in _combinations(matrix, where, refuse):
            left_out = [place for place, table in excluded if _fits(table, values)]
            fits_some.update(left_out)
            if left_out:
                continue
            places = dict.fromkeys(values, where)
            for place, table in included:
                shared = {key: value for key, value in table.items() if key in matrix}
                if shared and _fits(shared, values):
                    fits_some.add(place)
                    added = {key: value for key, value in table.items() if key not in matrix}
                    values, places = {**values, **added}, {**places, **dict.fromkeys(added, place)}
            yield _asked(values, where, places, refuse)
    for place, _ in excluded:
        if place not in fits_some:
            raise refuse(place, "this excludes no job.", f"Axes of the matrix: {', '.join(sorted(axes)) or 'none'}.")
    for place, table in included:
        if place not in fits_some:
            yield _asked(table, place, dict.fromkeys(table, place), refuse)  # fits no combination: it is one of its own
    for n, table in enumerate(_tables(document, "job", refuse)):
        yield _asked(table, ("job", n), dict.fromkeys(table, ("job", n)), refuse)


def _tables(document: Mapping[str, Any], name: str, refuse: Refuse) -> list[dict[str, Any]]:
    found = document.get(name, [])
    several = found if isinstance(found, list) else [found]
    if not all(isinstance(table, dict) for table in several) or (isinstance(found, dict) and name != "matrix"):
        raise refuse((name,), f"{name} is no list of tables.", f"Write [[{name}]].")
    return several


def _combinations(matrix: dict[str, Any], where: Where, refuse: Refuse) -> Iterator[dict[str, Any]]:
    size = 1
    for axis, values in matrix.items():
        if not isinstance(values, list) or not values:
            raise refuse((*where, axis), f"{axis} is {values!r}; a matrix wants a list.", f"Write {axis} = [...].")
        size *= len(values)
    if size > MOST:
        raise refuse(where, f"this is {size:,} jobs; at most {MOST:,} are taken.", "Split the file.")
    for values in itertools.product(*matrix.values()) if matrix else ():
        yield dict(zip(matrix, values, strict=True))


def _fits(table: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    """Whether every value of a table is that of a combination; a list in it names several."""
    return all(
        key in values and (values[key] in value if isinstance(value, list) else values[key] == value)
        for key, value in table.items()
    )


def _asked(values: Mapping[str, Any], where: Where, tables: Mapping[str, Where], refuse: Refuse) -> _Asked:
    rest, places = dict(values), {key: (*table, key) for key, table in tables.items()}
    name, fail_if = rest.pop("name", ""), rest.pop("fail_if", [])
    if not isinstance(name, str):
        raise refuse(places["name"], f"name is {name!r}; expected text.")
    return _Asked(rest, _listed(fail_if, places.get("fail_if", where), refuse), name, where, places)


def _listed(fail_if: Any, where: Where, refuse: Refuse) -> list[str]:
    found = [fail_if] if isinstance(fail_if, str) else fail_if
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise refuse(where, f"fail_if is {fail_if!r}; expected a list of expressions.")
    return found


def _checked(asked: _Asked, defaults: Mapping[str, Any], refuse: Refuse, line: Callable[[Where], str]) -> Job:
    """The job with all its settings, as `gipo train` would settle them; a mistake is told with its line."""
    rest = dict(defaults)
    common = _listed(rest.pop("fail_if", []), ("defaults", "fail_if"), refuse)
    values = {**rest, **asked.values}
    fail_if = tuple(dict.fromkeys([*common, *asked.fail_if]))
    try:
        named = [width_named(value) if name == "sigma" else (name, value) for name, value in values.items()]
        config = settle({}, named, "this job")
        require_known(parse_gates(fail_if), kinds(config))
    except GipoError as error:
        raise refuse(
            _blamed(error, asked, values, defaults), error.message.removeprefix("this job: "), error.hint
        ) from error
    name = _valid(asked.name or _name_of(asked.values), asked.places.get("name", asked.where), refuse)
    return Job(name, dict(asked.values), config, fail_if, line(asked.places.get("dataset", ("defaults", "dataset"))))


def _blamed(error: GipoError, asked: _Asked, values: Mapping[str, Any], defaults: Mapping[str, Any]) -> Where:
    """Where the mistake stands: the setting that the message names, in the job's own table or among the defaults."""
    words = re.findall(r"[\w-]+", error.message)
    # A message on a setting says whose it is, too: the setting is to blame.
    named = sorted((word for word in words if word in values), key=lambda key: key in ("objective", "advantage"))
    for key in ["fail_if"] if "--fail-if" in error.message else named:
        if key in asked.places:
            return asked.places[key]
        if key in defaults:
            return ("defaults", key)
    inside = [
        (key, word) for key, value in values.items() if isinstance(value, dict) for word in words if word in value
    ]
    for key, word in inside:
        return (*asked.places.get(key, ("defaults", key)), word)
    return asked.where


def _name_of(values: Mapping[str, Any]) -> str:
    """A name from what the file says of the job, so that it stays the same when other jobs are added."""
    parts = []
    for key, value in values.items():
        text = Path(value).stem if key == "dataset" and isinstance(value, str) and "/" in value else str(value)
        parts.append(text if key in ("dataset", "objective", "advantage") else f"{key}-{text}")
    return re.sub(r"[^\w.+-]+", "-", "_".join(parts)).strip("-.") or "job"


def _valid(name: str, where: Where, refuse: Refuse) -> str:
    if not re.fullmatch(r"\w[\w.+-]*", name) or name in RESERVED or len(name.encode()) > LONGEST_NAME:
        raise refuse(
            where,
            f"{name!r} cannot be the name of a job, since its directory is called so.",
            f"Give it a short one of letters, digits, - and _: name = ... (not {', '.join(RESERVED)})",
        )
    return name
