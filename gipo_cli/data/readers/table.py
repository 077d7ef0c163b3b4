"""Tables of one row a step: NPZ, Parquet, Arrow and CSV, gipo's own and anybody's by a mapping."""

import csv
import zipfile
from dataclasses import dataclass, replace
from difflib import get_close_matches
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np

from gipo_cli.data import arrow, npz
from gipo_cli.data.description import LARGEST_DESCRIPTION, WEIGHTS, Description, describe, require_size, weights_of
from gipo_cli.data.flat import FlatLog, to_trajectories
from gipo_cli.data.interleaved import in_order
from gipo_cli.data.log_probs import log_prob_key, what_there_is
from gipo_cli.data.mapping import Log, Mapping, Names, chosen, read_mapping
from gipo_cli.data.options import ReadOptions
from gipo_cli.data.places import first_bytes
from gipo_cli.data.readers import Reader
from gipo_cli.data.trajectories import Trajectories
from gipo_cli.errors import DataError, brief

SUFFIXES = (*arrow.PARQUET, *arrow.ARROW, *arrow.CSV)
# What a column may be called, besides gipo's own name, which comes first.
USUAL = {
    "observations": ("observations", "observation", "obs"),
    "actions": ("actions", "action"),
    "rewards": ("rewards", "reward"),
    "terminated": ("terminated", "terminateds", "terminations", "terminals", "terminal"),
    "truncated": ("truncated", "truncateds", "truncations", "timeouts", "timeout"),
    "episode": ("episode", "episodes", "episode_id", "episode_index", "eps_id"),
    "next_observations": ("next_observations", "next_observation", "next_obs"),
    "final_observations": ("final_observations",),
    "episode_starts": ("episode_starts",),
    "pre_squash_actions": ("pre_squash_actions",),
    "executed_actions": ("executed_actions",),
    "policy_versions": ("policy_versions",),
}
NEEDED = ("observations", "actions", "rewards")
APART = ("final_observations", "episode_starts", "action_low", "action_high")  # not one row a step
MOST_CHOICES = 1 << 16
SHOWN_CHOICES = 8
HEADER = 1 << 20  # bytes that the first line of a CSV may have


@dataclass(frozen=True)
class Source:
    """The columns of a file, whatever its format."""

    place: Path
    held: list[str]
    table: arrow.Table | None = None
    members: dict[str, npz.Member] | None = None
    description: Description | None = None
    arrays: dict[str, np.ndarray] | None = None  # what is not one row a step

    def is_text(self, name: str) -> bool:
        """Whether a column holds words."""
        if self.table is not None:
            return arrow.is_text(self.table.fields[name].type)
        return self.members is not None and self.members[name].dtype.kind in "SU"

    def numbers(self, names: Names) -> np.ndarray:
        """One column [N] or [N, A], or several beside one another [N, A]."""
        if self.table is not None:
            return arrow.numbers(self.table, names)
        listed = [names] if isinstance(names, str) else names
        for name in listed:
            if self.is_text(name):
                raise DataError(f"{self.place}: '{name}' holds text; expected numbers.")
        found = [npz.array(self.place, (self.members or {})[name]) for name in listed]
        if isinstance(names, str) or (len(found) == 1 and found[0].ndim > 1):
            return found[0]
        if len({column.shape[:1] for column in found}) != 1 or found[0].ndim == 0:
            raise DataError(f"{self.place}: {', '.join(listed)} have different numbers of rows; expected as many.")
        return np.concatenate([column.reshape(len(column), -1) for column in found], axis=1)

    def words(self, name: str, most: int | None = None) -> tuple[np.ndarray, list[str]]:
        """A column of words as numbers of their sorted order, and the words."""
        if self.table is not None:
            return arrow.words(self.table, name, most)
        known, codes = np.unique(npz.words(self.place, (self.members or {})[name]), return_inverse=True)
        if most is not None and len(known) > most:
            raise DataError(f"{self.place}: '{name}' has more than {most:,} different words.")
        return codes, [str(word) for word in known]


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
    source = _open(place)
    mapping = read_mapping(options.mapping) if options.mapping else None
    roles = _mapped(source, mapping) if mapping else _named(source)
    key = log_prob_key(options, source.held.__contains__, ("", "infos/"), place)
    if options.log_prob_key or (mapping is None and key):
        roles.pop("probabilities", None)
        roles["log_probs"] = key or ""
    if source.table is not None:
        names = [n for asked in roles.values() for n in ([asked] if isinstance(asked, str) else asked)]
        source = replace(source, table=arrow.prepared(source.table, list(dict.fromkeys(names))))
    return to_trajectories(_flat(source, name, options, roles, mapping))


def _open(place: Path) -> Source:
    if first_bytes(place, SUFFIXES, 2) == b"PK" or place.suffix.lower() == ".npz":
        members = npz.members(place)
        described = None
        if "gipo" in members:
            if members["gipo"].nbytes > LARGEST_DESCRIPTION:
                raise DataError(
                    f"{place}: the description 'gipo' has {members['gipo'].nbytes:,} bytes; "
                    f"up to {LARGEST_DESCRIPTION:,} are read."
                )
            text = npz.array(place, members["gipo"])
            if text.dtype.kind not in "iu":
                raise DataError(f"{place}: the description 'gipo' holds {text.dtype}; expected bytes.")
            described = describe(text.astype(np.uint8).tobytes(), f"{place}: the description 'gipo'")
        apart = [n for n in members if n in APART or (n.startswith(WEIGHTS) and described is not None)]
        require_size(place, (members[n].nbytes for n in apart if n.startswith(WEIGHTS)))
        for n in apart:
            if members[n].dtype.kind in "SU":
                raise DataError(f"{place}: '{n}' holds text; expected numbers.")
        arrays = {n: npz.array(place, members[n]) for n in apart}
        return Source(place, list(members), None, members, described, arrays)
    table = arrow.open_table(place, SUFFIXES)
    text = table.metadata.get(b"gipo")
    described = None if text is None else describe(text, f"{place}: the description 'gipo'")
    arrays = {}
    if described is not None and b"gipo_arrays" in table.metadata:
        arrays = _safetensors(place, table.metadata[b"gipo_arrays"])
    return Source(place, list(table.fields), table, None, described, arrays)


def _safetensors(place: Path, raw: bytes) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return load(raw)
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise DataError(f"{place}: its 'gipo_arrays' are no safetensors that can be read ({brief(error)}).") from error


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
    if "terminated" not in roles:
        done = next((name for name in ("dones", "done") if name in source.held), None)
        roles |= {"done": done} if done else {}
    return roles


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
    done, cut = columns.pop("done"), columns["truncated"]
    if done is not None and cut is not None and cut.shape == done.shape:
        columns["terminated"] = done.astype(bool) & ~cut.astype(bool)
    elif done is not None:
        columns["terminated"] = done
        notes.append("'done' does not tell a true end from a time limit; all count as true ends.")
    columns = _shaped(source, columns)
    columns["episodes"] = _episodes(source, roles, len(columns["observations"]), apart.get("episode_starts"))
    if described is None:
        columns = _together(source, columns, notes)
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
        next_observations=columns["next_observations"],
        episodes=columns["episodes"],
        final_observations=final,
        pre_squash_actions=columns["pre_squash_actions"],
        executed_actions=columns["executed_actions"],
        policy_versions=columns["policy_versions"],
        declared_convention=options.log_prob_convention
        or said.convention
        or (described.convention if described else None),
        choices=said.action_choices or (described.action_choices if described else None) or choices,
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
    if starts is None or "episode_starts" not in roles:
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
    if order is None:
        return columns
    notes.append("rows of several episodes took turns; each episode was put together.")
    return {role: None if c is None else c[order] if len(c) == rows else c for role, c in columns.items()}


TABLE = Reader(recognises=recognises, read=read)
