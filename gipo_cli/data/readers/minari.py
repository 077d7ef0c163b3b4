"""Minari's HDF5 storage: one group an episode, with a metadata.json beside it.

Minari itself is never asked to read: its `load_dataset` and `recover_environment` import and call what metadata.json
names. Here that file is text, of which a few fields are looked at.
"""

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import h5py
import numpy as np

from gipo_cli.data.hdf5 import attribute, member, open_safely, read_column
from gipo_cli.data.log_probs import convention_of, log_prob_key, what_there_is
from gipo_cli.data.options import ReadOptions
from gipo_cli.data.readers import Reader
from gipo_cli.data.trajectories import ActionSpace, Trajectories
from gipo_cli.errors import DataError, SettingError

DATA_FILE, METADATA_FILE = "main_data.hdf5", "metadata.json"
LARGEST_SET = 8 * 2**30  # bytes of all columns together
LARGEST_METADATA = 4 * 2**20  # bytes; Minari's own are a few thousand
IDENTIFIER = re.compile(r"([-_\w][-_\w/]*[-_\w]+/)?[-_\w]+?-v\d+")  # Minari's; without a dot nothing leaves the root
EPISODE = re.compile(r"episode_(\d{1,15})")
LARGEST_BOUND = 2**127  # near float32's largest
MOST_NAMED = 8  # datasets named in an error


@dataclass(frozen=True)
class _Episode:
    """One episode as stored; T steps, and log-probs of T or T + 1 rows."""

    name: str
    observations: np.ndarray  # [T + 1, *O]
    actions: np.ndarray
    rewards: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    log_probs: np.ndarray


def place_of(identifier: str) -> Path:
    """Where Minari keeps the dataset of this name on this machine.

    Raises:
        SettingError: it is not a name of Minari's kind.
        DataError: it is not on this machine.
    """
    if not IDENTIFIER.fullmatch(identifier):
        raise SettingError(
            f"{identifier!r} is not the name of a Minari dataset.", "Expected one such as mujoco/hopper/medium-v0."
        )
    root = Path(os.environ.get("MINARI_DATASETS_PATH") or Path.home() / ".minari" / "datasets")
    place = root / identifier
    if place.is_dir():
        return place
    there = _identifiers_under(root)
    shown = ", ".join(there[:MOST_NAMED]) + (f" and {len(there) - MOST_NAMED} more" if there[MOST_NAMED:] else "")
    raise DataError(
        f"there is no Minari dataset {identifier} in {root}.",
        f"There: {shown or 'none'}.\n`minari download {identifier}` fetches one that Minari hosts.",
    )


def _identifiers_under(root: Path) -> list[str]:
    found = []
    for directory, below, _ in os.walk(root):
        if "data" in below and _data_directory(Path(directory)) is not None:
            found.append(Path(directory).relative_to(root).as_posix())
            below.clear()
    return sorted(found)


def recognises(place: Path) -> bool:
    """Whether a directory is a Minari dataset, or the data directory of one."""
    return _data_directory(place) is not None


def _data_directory(place: Path) -> Path | None:
    for directory in (place / "data", place):
        if (directory / DATA_FILE).is_file():
            return directory
        if (directory / METADATA_FILE).is_file() and directory.name == "data":
            return directory
    return None


def read(place: Path, name: str, options: ReadOptions) -> Trajectories:
    """Read a Minari dataset stored as HDF5.

    Rows of infos are one more than the steps where Minari's DataCollector wrote them: row 0 belongs to the reset and
    step t's log-prob stands in row t + 1. Written by hand it usually stands in row t; see `_aligned`.

    Raises:
        DataError: the dataset is damaged, hostile, of another storage format, or lacks what GIPO needs.
    """
    directory = _data_directory(place) or place
    metadata = _metadata(directory / METADATA_FILE)
    if not (directory / DATA_FILE).is_file():
        raise DataError(
            f"{place} is a Minari dataset stored as {metadata.get('data_format', 'another format')}; HDF5 is read.",
            "Minari writes HDF5 under data_format='hdf5'.",
        )
    notes: list[str] = []
    with open_safely(directory / DATA_FILE) as file:
        key, episodes = _episodes(file, place, options, notes)
        declared = attribute(file, "log_prob_convention") or metadata.get("log_prob_convention")
    claimed = metadata.get("total_episodes")
    if isinstance(claimed, int) and claimed != len(episodes):
        notes.append(f"{METADATA_FILE} claims {claimed} episodes, the file holds {len(episodes)}.")
    episodes = _with_steps(episodes, place, notes)
    log_probs = _aligned(episodes, place, notes)
    _close(episodes, place, notes)
    space = _space(metadata.get("action_space"))
    actions = _joined(episodes, "actions")
    convention, actions = convention_of(
        place, actions, options.log_prob_convention or (declared if isinstance(declared, str) else None), notes
    )
    _require_observed(metadata.get("observation_space"), episodes[0].observations, place)
    action_space, actions = _action_space(space, actions, convention, place)
    return Trajectories(
        name=name,
        source=str(place),
        observations=np.concatenate([episode.observations[:-1] for episode in episodes]),
        actions=actions,
        rewards=_joined(episodes, "rewards"),
        behaviour_log_probs=np.concatenate(log_probs),
        terminated=_joined(episodes, "terminated"),
        truncated=_joined(episodes, "truncated"),
        final_observations=np.stack([episode.observations[-1] for episode in episodes]),
        episode_starts=np.cumsum([0, *(len(episode.rewards) for episode in episodes)]).astype(np.int64),
        action_space=action_space,
        convention=convention,
        environment=_environment(metadata.get("env_spec")),
        log_probs_origin="recorded" if key else "none",
        notes=tuple(notes),
    )


def _metadata(path: Path) -> dict[str, Any]:
    """The fields of metadata.json as they stand; nothing named in it is looked up."""
    if not path.is_file():
        return {}
    if path.stat().st_size > LARGEST_METADATA:
        raise DataError(f"{path} has {path.stat().st_size:,} bytes; up to {LARGEST_METADATA:,} are read.")
    fields = _json(path.read_bytes())
    if not isinstance(fields, dict):
        raise DataError(f"{path} is damaged; expected a JSON object.", "Copy or download the dataset again.")
    return fields


def _json(text: object) -> Any:
    """What a JSON text says, none where it says nothing that can be read. Minari writes a bare Infinity in spaces."""
    try:
        return json.loads(text) if isinstance(text, str | bytes) else None
    except (ValueError, RecursionError):
        return None


def _episodes(
    file: h5py.File, place: Path, options: ReadOptions, notes: list[str]
) -> tuple[str | None, list[_Episode]]:
    """Where log-probs are, and the episodes in the order of their numbers, not of their names."""
    numbers = sorted(int(found[1]) for found in map(EPISODE.fullmatch, file) if found)
    if not numbers:
        raise DataError(f"{place} holds no episodes.", f"It holds: {', '.join(sorted(file)) or 'nothing'}.")
    first = member(file, f"episode_{numbers[0]}")
    key = _log_prob_key(first, options, place) if isinstance(first, h5py.Group) else None
    episodes, size = [], 0
    for number in numbers:
        group = member(file, f"episode_{number}")
        if not isinstance(group, h5py.Group):
            raise DataError(f"{place}: 'episode_{number}' is no group; expected one an episode.")
        episodes.append(_episode(group, f"episode_{number}", key, place))
        # Many names may share one array in the file: the sum is what memory has to hold.
        size += sum(column.nbytes for column in vars(episodes[-1]).values() if isinstance(column, np.ndarray))
        if size > LARGEST_SET:
            raise DataError(f"{place} unpacks to more than {LARGEST_SET:,} bytes; it is not read.")
    if key is None:
        notes.append(what_there_is("infos", member(cast(h5py.Group, first), "infos")))
    return key, episodes


def _episode(group: h5py.Group, name: str, key: str | None, place: Path) -> _Episode:
    if isinstance(member(group, "observations"), h5py.Group):
        raise DataError(
            f"{place}: its observations are a Dict or Tuple of arrays; expected one array.",
            "Flatten them, as gymnasium.wrappers.FlattenObservation does, and write the dataset again.",
        )
    names = ("observations", "actions", "rewards", "terminations", "truncations")
    columns = {column: read_column(group, column) for column in names}
    for column, values in columns.items():
        if values is None or values.ndim == 0:
            raise DataError(f"{place}: {name} has no column '{column}'.", f"It holds: {', '.join(sorted(group))}.")
    log_probs = read_column(group, key) if key else np.full(len(cast(np.ndarray, columns["rewards"])), np.nan)
    if log_probs is None or log_probs.ndim == 0:
        raise DataError(f"{place}: {name} has no column '{key}', which the first episode has.")
    one_wide = ("rewards", "terminations", "truncations")
    found = {
        column: values[:, 0] if column in one_wide and values.ndim == 2 and values.shape[1] == 1 else values
        for column, values in columns.items()
        if values is not None
    }
    steps = len(found["rewards"])
    expected = {"observations": steps + 1, "actions": steps, "terminations": steps, "truncations": steps}
    for column, rows in expected.items():
        if len(found[column]) != rows:
            raise DataError(
                f"{place}: '{column}' of {name} has {len(found[column])} rows; its {steps} rewards ask for {rows}."
            )
    if len(log_probs) not in (steps, steps + 1):
        raise DataError(f"{place}: '{key}' of {name} has {len(log_probs)} rows; expected {steps} or {steps + 1}.")
    log_probs = log_probs.reshape(-1) if log_probs.shape[1:] == (1,) else log_probs
    ends = (found["terminations"].astype(bool) | found["truncations"].astype(bool))[:-1]
    if ends.any():
        raise DataError(f"{place}: {name} ends at step {int(ends.argmax())} of {steps} and goes on after it.")
    flags = {column: found[column].astype(bool) for column in ("terminations", "truncations")}
    return _Episode(
        name, _columns(found["observations"]), found["actions"], found["rewards"],
        flags["terminations"], flags["truncations"] & ~flags["terminations"], log_probs,
    )  # fmt: skip


def _columns(observations: np.ndarray) -> np.ndarray:
    """Observations [T + 1, *O]; a flat column counts as [T + 1, 1]."""
    return observations[:, None] if observations.ndim == 1 else observations


def _log_prob_key(group: h5py.Group, options: ReadOptions, place: Path) -> str | None:
    """Where an episode keeps its log-probs: in infos or one group below, none where it has none."""
    infos = member(group, "infos")
    below = sorted(infos) if isinstance(infos, h5py.Group) else []
    nested = [f"infos/{name}/" for name in below if isinstance(member(group, f"infos/{name}"), h5py.Group)]
    return log_prob_key(options, lambda key: isinstance(member(group, key), h5py.Dataset), ("infos/", *nested), place)


def _with_steps(episodes: list[_Episode], place: Path, notes: list[str]) -> list[_Episode]:
    kept = [episode for episode in episodes if len(episode.rewards)]
    if not kept:
        raise DataError(f"{place} holds no steps.")
    for episode in kept:
        for column in ("observations", "actions", "log_probs"):
            found, expected = getattr(episode, column).shape[1:], getattr(kept[0], column).shape[1:]
            if found != expected:
                raise DataError(
                    f"{place}: '{column}' of {episode.name} has shape {list(found)} a step, "
                    f"that of {kept[0].name} {list(expected)}."
                )
    if len(kept) < len(episodes):
        notes.append(f"{len(episodes) - len(kept)} episodes without a step were left out.")
    return kept


def _aligned(episodes: list[_Episode], place: Path, notes: list[str]) -> list[np.ndarray]:
    """Log-probs with step t's value in row t, [T] each.

    Of T + 1 rows one is a placeholder. A nan tells which; without one DataCollector's layout is assumed, where row 0
    belongs to the reset, and the assumption is noted.
    """
    longer = [episode for episode in episodes if len(episode.log_probs) == len(episode.rewards) + 1]
    first = bool(longer) and all(np.isnan(episode.log_probs[0]).all() for episode in longer)
    last = bool(longer) and all(np.isnan(episode.log_probs[-1]).all() for episode in longer)
    if longer and not first and not last:
        notes.append(
            "log-probs have a row more than there are steps; row 0 is taken for the reset, as DataCollector writes "
            "it. If step t's value stands in row t, store one row a step."
        )
    return [
        episode.log_probs
        if len(episode.log_probs) == len(episode.rewards)
        else episode.log_probs[:-1] if last and not first else episode.log_probs[1:]
        for episode in episodes
    ]  # fmt: skip


def _close(episodes: list[_Episode], place: Path, notes: list[str]) -> None:
    """An episode that neither terminated nor was truncated was cut by whoever stopped the recording."""
    unfinished = [episode for episode in episodes if not (episode.terminated[-1] or episode.truncated[-1])]
    for episode in unfinished:
        episode.truncated[-1] = True
    if unfinished:
        notes.append(f"{len(unfinished)} episodes are unfinished; they count as cut by a limit.")


def _joined(episodes: list[_Episode], column: str) -> np.ndarray:
    return np.concatenate([getattr(episode, column) for episode in episodes])


def _space(text: object) -> dict[str, Any]:
    """The fields of a serialised space: a JSON text, or the object itself; empty where there is none."""
    found = _json(text) if isinstance(text, str) else text
    return found if isinstance(found, dict) else {}


def _require_observed(space: object, observations: np.ndarray, place: Path) -> None:
    shape = _space(space).get("shape")
    if isinstance(shape, list) and tuple(shape) != observations.shape[1:]:
        raise DataError(
            f"{place}: {METADATA_FILE} says that observations have shape {shape}, the file holds "
            f"{list(observations.shape[1:])}."
        )


def _action_space(
    space: dict[str, Any], actions: np.ndarray, convention: str, place: Path
) -> tuple[ActionSpace, np.ndarray]:
    """The action space that metadata.json names, else the one that the actions fill; and actions counted from 0."""
    if convention == "categorical":
        start, n = space.get("start", 0), space.get("n")
        if not isinstance(start, int) or not isinstance(n, int):
            return ActionSpace(shape=(), n=int(actions.max(initial=0)) + 1), actions
        return ActionSpace(shape=(), n=n), actions - start
    bounds = [np.asarray(space[side], np.float32) if _is_vector(space.get(side)) else None for side in ("low", "high")]
    fitting = [bound if bound is not None and bound.shape == actions.shape[1:] else None for bound in bounds]
    return ActionSpace(shape=actions.shape[1:], low=fitting[0], high=fitting[1]), actions


def _is_vector(value: object) -> bool:
    # Python integers have no end, float32 has: a bound beyond it is damage, and counts as none.
    return isinstance(value, list) and all(
        isinstance(number, float) or (isinstance(number, int) and abs(number) < LARGEST_BOUND) for number in value
    )


def _environment(specification: object) -> str | None:
    """The environment's name as text; its entry point and the rest are never looked at."""
    named = _space(specification).get("id")
    return named if isinstance(named, str) else None


MINARI = Reader(recognises=recognises, read=read)
