"""robomimic's HDF5 layout: one group a demonstration below `data`, each key of its observations an array of its own.

The layout has no log-probs; they are looked for under the usual names in each demonstration's group.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from gipo_cli.data.cache import filled
from gipo_cli.data.flat import FlatLog, to_trajectories
from gipo_cli.data.hdf5 import attribute, column_of, is_hdf5, member, open_safely, type_of
from gipo_cli.data.log_probs import log_prob_key, what_there_is
from gipo_cli.data.options import ReadOptions
from gipo_cli.data.readers import Reader
from gipo_cli.data.trajectories import BLOCK, Trajectories
from gipo_cli.errors import DataError

DEMO = re.compile(r"demo_(\d{1,15})")
MOST_KEYS = 256  # of an observation
NOT_LOG_PROBS = {"obs", "next_obs", "actions", "rewards", "dones", "states"}


@dataclass
class _Demos:
    """Demonstrations with steps: the rows of each up to its first done."""

    place: Path
    groups: list[h5py.Group]
    names: list[str]
    rows: list[int]  # [E] that are stored
    steps: list[int]  # [E] that are of the episode
    ends: list[bool]  # [E] whether the last of them is done


def recognises(place: Path) -> bool:
    """Whether an HDF5 file has a group `data` with demonstrations in it."""
    if not is_hdf5(place):
        return False
    try:
        with open_safely(place) as file:
            data = member(file, "data")
            return isinstance(data, h5py.Group) and any(DEMO.fullmatch(str(name)) for name in data)
    except (DataError, ValueError, KeyError, TypeError):
        return False


def read(place: Path, name: str, options: ReadOptions) -> Trajectories:
    """Read a robomimic file.

    Keys of the observations are laid side by side in sorted order. A demonstration ends at its first `dones` of 1,
    which is a true end, else at its last row, where it counts as cut; `next_obs` gives what was observed last.
    `env_args` is text of which the environment's name is looked at, and `mask` is left alone.

    Raises:
        DataError: the file is damaged or hostile, observes images, or lacks what GIPO needs.
    """
    with open_safely(place) as file:
        data = member(file, "data")
        if not isinstance(data, h5py.Group):
            raise DataError(f"{place} has no group 'data'.", f"It holds: {', '.join(sorted(map(str, file)))}.")
        notes: list[str] = []
        demos = _demos(data, place, notes)
        first = demos.groups[0]
        keys = _observed(first, "obs", place)
        if len(keys) > 1:
            notes.append(f"observations are {', '.join(keys)}, laid side by side in this order.")
        key = log_prob_key(
            options, lambda key: isinstance(member(first, key), h5py.Dataset), ("", "infos/"), place, first
        )
        if key is None:
            notes.append(what_there_is("demonstrations", set(first) - NOT_LOG_PROBS))
        ends = np.cumsum(demos.steps) - 1
        terminals, timeouts = np.zeros(ends[-1] + 1, bool), np.zeros(ends[-1] + 1, bool)
        terminals[ends], timeouts[ends] = demos.ends, ~np.asarray(demos.ends)
        flat = FlatLog(
            place=place,
            name=name,
            observations=_joined(demos, [f"obs/{key}" for key in keys], "obs", side_by_side=True),
            actions=_joined(demos, ["actions"], "actions"),
            rewards=_joined(demos, ["rewards"], "rewards"),
            log_probs=_joined(demos, [key], key) if key else None,
            terminals=terminals,
            timeouts=timeouts,
            final_observations=_final(demos, keys),
            declared_convention=options.log_prob_convention or None,
            environment=_environment(attribute(data, "env_args")),
            notes=notes,
            names={"observations": "obs", "final_observations": "next_obs", "log_probs": key or ""},
        )
        return to_trajectories(flat)


def _demos(data: h5py.Group, place: Path, notes: list[str]) -> _Demos:
    """The demonstrations in the order of their numbers."""
    numbers = sorted(int(found[1]) for found in map(DEMO.fullmatch, map(str, data)) if found)
    demos = _Demos(place, [], [], [], [], [])
    longer = 0
    for number in numbers:
        name = f"demo_{number}"
        group = member(data, name)
        if not isinstance(group, h5py.Group):
            raise DataError(f"{place}: 'data/{name}' is no group; expected one a demonstration.")
        rows = _column(group, "rewards", place).shape[0]
        dones = np.asarray(_column(group, "dones", place)[:]).reshape(-1)
        if len(dones) != rows:
            raise DataError(f"{place}: 'dones' of {name} has {len(dones)} rows, 'rewards' {rows}; expected as many.")
        if dones.dtype.kind == "f" and not np.isfinite(dones).all():
            raise DataError(f"{place}: 'dones' of {name} holds a number that is not finite; expected 0 or 1.")
        if rows == 0:
            continue
        done = np.flatnonzero(dones > 0)
        steps = int(done[0]) + 1 if len(done) else rows
        longer += steps < rows
        demos.groups.append(group)
        demos.names.append(name)
        demos.rows.append(rows)
        demos.steps.append(steps)
        demos.ends.append(len(done) > 0)
    if not demos.groups:
        raise DataError(f"{place} holds no steps.")
    if len(demos.groups) < len(numbers):
        notes.append(f"{len(numbers) - len(demos.groups)} demonstrations without a step were left out.")
    if longer:
        notes.append(f"{longer} demonstrations go on after their first 'dones' of 1; what follows was left out.")
    return demos


def _column(group: h5py.Group, key: str, place: Path) -> h5py.Dataset:
    found = column_of(group, key)
    where = str(group.name).strip("/")
    if found is None:
        raise DataError(f"{place}: {where} has no column '{key}'.", f"It holds: {', '.join(sorted(map(str, group)))}.")
    if found.ndim == 0:
        raise DataError(f"{place}: '{key}' of {where} is one number; expected one row a step.")
    return found


def _observed(demo: h5py.Group, key: str, place: Path) -> list[str]:
    """Keys of the observations in sorted order.

    Raises:
        DataError: there are none, or one is an image.
    """
    group = member(demo, key)
    keys = sorted(map(str, group)) if isinstance(group, h5py.Group) else []
    if not keys:
        raise DataError(
            f"{place}: {str(demo.name).strip('/')} has no '{key}'.",
            "robomimic's dataset_states_to_obs.py adds observations to a file of states.",
        )
    if len(keys) > MOST_KEYS:
        raise DataError(f"{place}: '{key}' has {len(keys):,} keys; up to {MOST_KEYS} are read.")
    for name in keys:
        shape = _column(demo, f"{key}/{name}", place).shape[1:]
        if len(shape) > 1:
            raise DataError(
                f"{place}: '{key}/{name}' is an image, {list(shape)} a step; observations of vectors are read.",
                "Write the file without cameras: dataset_states_to_obs.py without --camera_names.",
            )
    return keys


def _joined(demos: _Demos, keys: list[str], name: str, side_by_side: bool = False) -> np.ndarray:
    """A column of all demonstrations end to end; several keys lie side by side, as [N, sum of their widths]."""
    shapes, dtype = _outlined(demos, keys)
    widths = [int(np.prod(shape)) for shape in shapes]
    edges = np.cumsum([0, *widths])
    shape = (sum(widths),) if side_by_side else shapes[0]

    def fill(target: np.ndarray) -> None:
        for k, key in enumerate(keys):
            beside = (slice(edges[k], edges[k + 1]),) if side_by_side else ()
            at = 0
            for group, steps in zip(demos.groups, demos.steps, strict=True):
                found = _column(group, key, demos.place)
                for start in range(0, steps, BLOCK):
                    rows = found[start : min(steps, start + BLOCK)]
                    rows = rows.reshape(len(rows), -1) if side_by_side else rows
                    target[(slice(at, at + len(rows)), *beside)] = rows
                    at += len(rows)

    return filled(demos.place, f"robomimic-{name}", (sum(demos.steps), *shape), dtype, fill)


def _outlined(demos: _Demos, keys: list[str]) -> tuple[list[tuple[int, ...]], np.dtype]:
    """The shape of a row of each key, and a type that holds all of them, in all demonstrations alike."""
    shapes: list[tuple[int, ...]] = []
    types = []
    for key in keys:
        for group, name, rows in zip(demos.groups, demos.names, demos.rows, strict=True):
            found = _column(group, key, demos.place)
            if group is demos.groups[0]:
                shapes.append(found.shape[1:])
            if found.shape != (rows, *shapes[-1]):
                raise DataError(
                    f"{demos.place}: '{key}' of {name} has shape {list(found.shape)}; expected {[rows, *shapes[-1]]}."
                )
            types.append(type_of(found))
    return shapes, np.result_type(*types).newbyteorder("=")


def _final(demos: _Demos, keys: list[str]) -> np.ndarray | None:
    """What was observed after the last step of each demonstration; none where a file does not say."""
    if any(member(group, f"next_obs/{key}") is None for group in demos.groups for key in keys):
        return None
    columns = [f"next_obs/{key}" for key in keys]
    _outlined(demos, columns)
    rows = [
        np.concatenate([np.atleast_1d(_column(group, key, demos.place)[steps - 1]) for key in columns])
        for group, steps in zip(demos.groups, demos.steps, strict=True)
    ]
    return np.stack(rows)


def _environment(text: object) -> str | None:
    """The environment's name; the rest of env_args is never looked at."""
    try:
        named = json.loads(text).get("env_name") if isinstance(text, str) else None
    except (ValueError, RecursionError, AttributeError):
        return None
    return named if isinstance(named, str) else None


ROBOMIMIC = Reader(recognises=recognises, read=read)
