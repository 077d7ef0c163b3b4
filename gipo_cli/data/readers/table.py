"""Tables of one row a step: NPZ, Parquet, Arrow and CSV, gipo's own and anybody's by a mapping."""

import csv
import re
import zipfile
from dataclasses import replace
from difflib import get_close_matches
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np

from gipo_cli.data import arrow
from gipo_cli.data.description import as_list, weights_of
from gipo_cli.data.flat import FlatLog, to_trajectories
from gipo_cli.data.interleaved import in_order, restarts
from gipo_cli.data.log_probs import log_prob_key, what_there_is
from gipo_cli.data.mapping import Log, Mapping, Names, chosen, read_mapping
from gipo_cli.data.options import ReadOptions
from gipo_cli.data.places import first_bytes
from gipo_cli.data.readers import Reader
from gipo_cli.data.table_source import SUFFIXES, Source, open_source
from gipo_cli.data.trajectories import Trajectories
from gipo_cli.errors import DataError

# What a column may be called, besides gipo's own name, which comes first.
USUAL = {
    "observations": ("observations", "observation", "obs"),
    "actions": ("actions", "action"),
    "rewards": ("rewards", "reward"),
    "terminated": ("terminated", "terminateds", "terminations", "terminals", "terminal"),
    "truncated": ("truncated", "truncateds", "truncations", "timeouts", "timeout"),
    "done": ("done", "dones"),
    "episode": ("episode", "episodes", "episode_id", "episode_index", "eps_id"),
    "next_observations": ("next_observations", "next_observation", "next_obs"),
    "final_observations": ("final_observations",),
    "episode_starts": ("episode_starts",),
    "pre_squash_actions": ("pre_squash_actions",),
    "executed_actions": ("executed_actions",),
    "policy_versions": ("policy_versions",),
}
NEEDED = ("observations", "actions", "rewards")
MOST_CHOICES = 1 << 16
SHOWN_CHOICES = 8
HEADER = 1 << 20  # bytes that the first line of a CSV may have


def recognises(place: Path) -> bool:
    """Whether it is a table that has at least two of the three columns every log has, by a usual name."""
    try:
        held = _held(place)
    except (DataError, OSError, ValueError, csv.Error, zipfile.BadZipFile, RuntimeError, NotImplementedError):
        # By its first bytes and its name a table, but damaged: reading it says how.
        return place.suffix.lower() in (".npz", *SUFFIXES) or first_bytes(place, SUFFIXES, 4) in (b"PAR1", b"ARRO")
    return sum(_usual(held, role) is not None for role in NEEDED) > 1


def _held(place: Path) -> list[str]:
    magic = first_bytes(place, SUFFIXES, 6)
    if magic[:4] == b"PK\x03\x04":
        with zipfile.ZipFile(place) as file:
            return [name.removesuffix(".npy") for name in file.namelist() if name.endswith(".npy")]
    if magic[:4] == b"PAR1" or magic == b"ARROW1":
        return arrow.names_of(place, SUFFIXES)
    suffixes = {place.suffix.lower()} if place.is_file() else {p.suffix.lower() for p in place.iterdir()}
    if not suffixes & set(arrow.CSV):
        return []
    line = first_bytes(place, arrow.CSV, HEADER).decode("utf-8-sig", "replace").splitlines()[:1]
    return next(csv.reader(line, delimiter="\t" if ".tsv" in suffixes else ","), [])


def read(place: Path, name: str, options: ReadOptions) -> Trajectories:
    """Read a table by its columns' usual names, or as `options.mapping` says.

    Raises:
        SettingError: the mapping is wrong.
        DataError: the file is damaged, or lacks a column that is needed, or one holds what it should not.
    """
    source = open_source(place)
    mapping = read_mapping(options.mapping) if options.mapping else None
    roles = _mapped(source, mapping) if mapping else _named(source)
    if source.table is not None and roles.get("episode") in source.table.wholes:
        # A CSV's numbers are read as floats, which take 2^60 and 2^60 + 1 for one episode.
        source = replace(source, table=arrow.open_table(place, SUFFIXES, as_words=[str(roles["episode"])]))
    key = log_prob_key(options, source.held.__contains__, ("", "infos/"), place, source.held)
    if options.log_prob_key or (mapping is None and key):
        roles.pop("probabilities", None)
        roles["log_probs"] = key or ""
    if source.table is not None:
        names = [n for asked in roles.values() for n in ([asked] if isinstance(asked, str) else asked)]
        source = replace(source, table=arrow.prepared(source.table, list(dict.fromkeys(names))))
        if source.table is not None and source.table.rows == 0:
            raise DataError(f"{place} holds no steps.")
    return to_trajectories(_flat(source, name, options, roles, mapping))


def _usual(held: list[str], role: str) -> Names | None:
    """The column that goes by a usual name of a role, or those numbered from 0 that do: obs_0, obs_1, ..."""
    known = set(held)
    for name in USUAL[role]:
        if name in known:
            return name
        for between in "_.":
            numbered = list(takewhile(known.__contains__, (f"{name}{between}{i}" for i in range(len(held)))))
            if numbered:
                return numbered
    return None


def _named(source: Source) -> dict[str, Names]:
    roles = {role: found for role in USUAL if (found := _usual(source.held, role)) is not None}
    for role in NEEDED:
        if role not in roles:
            near = get_close_matches(role, source.held, n=1)
            hint = f"Is it '{near[0]}'? " if near else f"It holds: {', '.join(source.held[:40]) or 'nothing'}. "
            raise DataError(
                f"{source.place} has no column '{role}'.", hint + "--mapping FILE.toml says which column is which."
            )
    for names in roles.values():
        _refuse_gap(source, names)
    return roles


def _refuse_gap(source: Source, names: Names) -> None:
    """Refuse numbered columns of which one is left out: nobody can tell whether those beyond it are meant."""
    if isinstance(names, str):
        return
    stem = names[0].removesuffix("0")
    beyond = [n for n in source.held if re.fullmatch(re.escape(stem) + r"\d+", n) and n not in names]
    if beyond:
        raise DataError(
            f"{source.place}: there are columns {names[0]} to {names[-1]} and {beyond[0]}, "
            f"and no {stem}{len(names)} between.",
            "--mapping FILE.toml says which columns are meant.",
        )


def _mapped(source: Source, mapping: Mapping) -> dict[str, Names]:
    asked = mapping.columns.model_dump(exclude_none=True)
    return {role: chosen(source.place, names, source.held) for role, names in asked.items()}


def _flat(source: Source, name: str, options: ReadOptions, roles: dict[str, Names], mapping: Mapping | None) -> FlatLog:
    notes: list[str] = []
    said, described, apart = mapping.log if mapping else Log(), source.description, source.arrays or {}
    actions, choices = _actions(source, roles["actions"], notes)
    columns: dict[str, Any] = {"actions": actions, "log_probs": _log_probs(source, roles, actions, notes)}
    for role in ("observations", "rewards", "terminated", "truncated", "done", "step", "next_observations",
                 "pre_squash_actions", "executed_actions", "policy_versions"):  # fmt: skip
        columns[role] = source.numbers(roles[role]) if role in roles else None
    columns = _shaped(source, columns)
    columns["episodes"] = _episodes(source, roles, len(columns["observations"]), apart.get("episode_starts"))
    if described is None:
        columns = _together(source, _apart(source, columns, notes), notes)
    final = apart.get("final_observations")
    if said.one_step:
        final, columns["terminated"] = columns["observations"], np.ones(len(columns["observations"]), bool)
    low, high = (_bounds(source, given, apart.get(key)) for given, key in _bound_names(said))
    return FlatLog(
        place=source.place,
        name=name,
        observations=columns["observations"],
        actions=columns["actions"],
        rewards=columns["rewards"],
        log_probs=columns["log_probs"],
        terminals=columns["terminated"],
        timeouts=columns["truncated"],
        done=columns["done"],
        next_observations=columns["next_observations"],
        episodes=columns["episodes"],
        final_observations=final,
        pre_squash_actions=columns["pre_squash_actions"],
        executed_actions=columns["executed_actions"],
        policy_versions=columns["policy_versions"],
        declared_convention=options.log_prob_convention
        or said.convention
        or (described.convention if described else None),
        choices=as_list(said.action_choices or (described.action_choices if described else None) or choices),
        action_low=low,
        action_high=high,
        environment=said.environment or (described.environment if described else None),
        behaviour_weights=weights_of(described, apart),
        log_probs_origin=described.log_probs_origin if described else "recorded",
        repairs=tuple(described.repairs) if described else (),
        notes=notes,
        names=_called(roles),
    )


def _bound_names(said: Log) -> tuple[tuple[list[float] | None, str], ...]:
    return (said.action_low, "action_low"), (said.action_high, "action_high")


def _bounds(source: Source, given: list[float] | None, found: np.ndarray | None) -> np.ndarray | None:
    if given is not None:
        return np.asarray(given, np.float64)
    if found is not None and found.dtype.kind not in "fiu":
        raise DataError(f"{source.place}: the bounds of its actions hold {found.dtype}; expected numbers.")
    return found


def _called(roles: dict[str, Names]) -> dict[str, str]:
    """What the file calls the columns of a FlatLog."""
    names = {role: asked if isinstance(asked, str) else ", ".join(asked)[:80] for role, asked in roles.items()}
    renamed = {"terminals": "terminated", "timeouts": "truncated", "episodes": "episode"}
    names |= {ours: names[role] for ours, role in renamed.items() if role in names}
    return names | {"log_probs": names.get("log_probs") or names.get("probabilities", "log_probs")}


def _actions(source: Source, asked: Names, notes: list[str]) -> tuple[np.ndarray, int | None]:
    """Actions as numbers, and how many choices there are where they were words."""
    name = asked if isinstance(asked, str) else asked[0] if len(asked) == 1 else None
    if name is not None and source.is_text(name):
        codes, words = source.words(name, MOST_CHOICES)
        shown = ", ".join(f"{i} = {word[:40]}" for i, word in enumerate(words[:SHOWN_CHOICES]))
        more = f", and {len(words) - SHOWN_CHOICES} more" if len(words) > SHOWN_CHOICES else ""
        notes.append(f"'{name}' holds words; numbered in sorted order: {shown}{more}.")
        return codes, len(words)
    actions = source.numbers(asked)
    listed = {asked} if isinstance(asked, str) else set(asked)
    whole = source.table is not None and listed <= source.table.wholes
    if actions.dtype == bool or (whole and (np.abs(actions) < MOST_CHOICES).all() and (actions % 1 == 0).all()):
        actions = actions.astype(np.int64)
    return actions, None


def _log_probs(source: Source, roles: dict[str, Names], actions: np.ndarray, notes: list[str]) -> np.ndarray | None:
    if "log_probs" in roles:
        return source.numbers(roles["log_probs"])
    if "probabilities" not in roles:
        notes.append(what_there_is("columns", source.held))
        return None
    name = str(roles["probabilities"])
    given = source.numbers(name).astype(np.float64)
    most = 1.0 if actions.dtype.kind in "iu" else np.inf  # the density of a continuous action may be above 1
    wrong = ~((given > 0) & (given <= most))
    if wrong.any():
        row = int(wrong.reshape(len(wrong), -1).any(1).argmax())
        value = given.reshape(len(given), -1)[row, 0]
        raise DataError(
            f"{source.place}: '{name}' of row {row} is {value:.4g}; expected a "
            f"{'probability above 0 and up to 1' if most == 1 else 'density above 0'}.",
            "Are they logs already? Then map log_probs in place of probabilities.",
        )
    notes.append(f"log-probs are the natural logs of '{name}'.")
    return np.log(given)


def _shaped(source: Source, columns: dict[str, Any]) -> dict[str, Any]:
    """Columns of several axes, which a table holds as one list a row, in the shape that the file describes."""
    described = source.description
    if source.table is None or described is None:
        return columns
    shapes: dict[str, tuple[int, ...]] = {}
    if described.observation_shape is not None:
        shapes |= {"observations": tuple(described.observation_shape)}
    if described.action_shape is not None:
        acted = tuple(described.action_shape)
        shapes |= dict.fromkeys(("actions", "pre_squash_actions", "executed_actions"), acted)
    for role, shape in shapes.items():
        column = columns[role]
        if column is None:
            continue
        if column.size != len(column) * int(np.prod(shape, dtype=object)):
            raise DataError(f"{source.place}: '{role}' has shape {list(column.shape)}; expected {list(shape)} a row.")
        columns[role] = column.reshape(len(column), *shape)
    return columns


def _episodes(source: Source, roles: dict[str, Names], rows: int, starts: np.ndarray | None) -> np.ndarray | None:
    """Which episode each row is of, [N]; none where the file does not say."""
    if "episode" in roles:
        name = str(roles["episode"])
        return source.words(name)[0] if source.is_text(name) else source.numbers(name)
    if starts is None:
        return None
    whole = starts.ndim == 1 and starts.dtype.kind in "iu" and len(starts) > 1
    lengths = np.diff(starts) if whole else np.zeros(1, int)
    if not whole or starts[0] != 0 or starts[-1] != rows or (lengths <= 0).any():
        raise DataError(f"{source.place}: 'episode_starts' does not rise from 0 to its {rows} rows.")
    return np.repeat(np.arange(len(lengths)), lengths)


def _together(source: Source, columns: dict[str, Any], notes: list[str]) -> dict[str, Any]:
    """Put the rows of each episode together, where they take turns or stand out of order."""
    episodes, steps = columns["episodes"], columns["step"]
    rows = len(columns["observations"])
    if episodes is None or episodes.shape != (rows,) or (steps is not None and steps.shape != (rows,)):
        return columns
    order = in_order(source.place, episodes, steps)
    if order is not None:
        notes.append("rows of several episodes took turns; each episode was put together.")
        columns = {role: None if c is None else c[order] if len(c) == rows else c for role, c in columns.items()}
    if steps is not None:
        named = columns["episodes"]
        columns["episodes"] = restarts(named, columns["step"], rows)
        gaps = int(columns["episodes"][-1]) - int((named[1:] != named[:-1]).sum())
        if gaps:
            notes.append(f"steps are left out in {gaps} places; an episode counts as cut there.")
    return columns


def _apart(source: Source, columns: dict[str, Any], notes: list[str]) -> dict[str, Any]:
    """Keep the episodes of several files apart: where no column names them, an end of a file is one's end too.

    Raises:
        DataError: the files number their episodes each from the beginning, and no step tells which row follows which.
    """
    table, episodes = source.table, columns["episodes"]
    if table is None or not table.parts or columns["step"] is not None:
        return columns
    first = [next(iter(table.fields))]
    file = np.repeat(np.arange(len(table.parts)), [arrow.prepared(part, first).rows for part in table.parts])
    if episodes is None:
        if any(columns[said] is not None for said in ("next_observations", "truncated", "done")):
            return columns  # where an episode is cut is said already
        notes.append("no column says which episode a row is of; no episode goes on from one file into the next.")
        return {**columns, "episodes": file}
    codes = np.unique(episodes, return_inverse=True)[1]
    begins = np.append(True, codes[1:] != codes[:-1])
    files = np.bincount(np.unique(codes * len(table.parts) + file) // len(table.parts))
    anew = (files > 1) & (np.bincount(codes[begins]) > 1)
    starts = codes[np.flatnonzero(np.diff(file, prepend=-1))]
    if anew.any() or (starts == starts[0]).all():
        raise DataError(
            f"{source.place}: its files number their episodes each from the beginning; which rows follow one another?",
            "gipo datasets merge FILE... OUT keeps the episodes of several files apart. Or map a column of steps.",
        )
    return columns


TABLE = Reader(recognises=recognises, read=read)
