"""Minari datasets in any of its storage formats, HDF5, Arrow and Parquet, with a metadata.json beside the data.

Minari itself is never asked to read: its `load_dataset` and `recover_environment` import and call what metadata.json
names. Here that file is text, of which a few fields are looked at.
"""

import json
import os
import re
from pathlib import Path
from typing import Any, cast

import numpy as np

from gipo_cli.data.behaviour_file import NAME as POLICY_FILE
from gipo_cli.data.behaviour_file import behaviour_weights
from gipo_cli.data.log_probs import DISCRETE, convention_of, log_prob_key, what_there_is
from gipo_cli.data.minari_episodes import Episodes, flags, observed_keys, outlined
from gipo_cli.data.minari_storages import DATA_FILE, Storage, open_storage, storage_of
from gipo_cli.data.options import ReadOptions
from gipo_cli.data.places import refuse_leading_out
from gipo_cli.data.readers import Reader
from gipo_cli.data.trajectories import ActionSpace, Origin, Trajectories, space_of_choices
from gipo_cli.errors import DataError, SettingError

METADATA_FILE = "metadata.json"
LARGEST_METADATA = 4 * 2**20  # bytes; Minari's own are a few thousand
IDENTIFIER = re.compile(r"([-_\w][-_\w/]*[-_\w]+/)?[-_\w]+?-v\d+")  # Minari's; without a dot nothing leaves the root
LARGEST_START = 2**62  # of the choices of a discrete space
LARGEST_BOUND = 2**127  # near float32's largest
MOST_NAMED = 8  # datasets named in an error
SMALLEST_IMAGE = 32  # a side; Minari stores larger boxes of bytes as JPEG
RECORDED = {
    "pre_squash_actions": "infos/pre_squash_actions", "executed_actions": "infos/executed_actions",
    "policy_versions": "infos/policy_versions",
}  # fmt: skip
ORIGINS = ("recorded", "recomputed", "estimated", "none")


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
    """Whether a place is a Minari dataset, its data directory, or the file in it."""
    return _data_directory(place) is not None


def _data_directory(place: Path) -> Path | None:
    if place.name == DATA_FILE:
        place = place.parent
    try:
        return next((directory for directory in (place / "data", place) if _holds_episodes(directory)), None)
    except OSError:
        return None


def _holds_episodes(directory: Path) -> bool:
    if not directory.is_dir():
        return False
    return bool(storage_of(directory)) or (directory.name == "data" and (directory / METADATA_FILE).is_file())


def read(place: Path, name: str, options: ReadOptions) -> Trajectories:
    """Read a Minari dataset, each column once, into memory or where it is too large for it a map of the cache.

    Rows of infos are one more than the steps where Minari's DataCollector wrote them: row 0 belongs to the reset and
    step t's log-prob stands in row t + 1. Written by hand it usually stands in row t; see `_log_probs`. Dict and
    Tuple observations are laid side by side, as gymnasium.spaces.flatten does.

    Raises:
        DataError: the dataset is damaged, hostile, or lacks what GIPO needs.
    """
    directory = _data_directory(place) or place
    if directory.parent == place:
        refuse_leading_out(directory, place)
    refuse_leading_out(directory / METADATA_FILE, directory)
    metadata = _metadata(directory / METADATA_FILE)
    if not storage_of(directory):
        raise DataError(
            f"{place} is a Minari dataset stored as {metadata.get('data_format', 'nothing')}; it holds no episodes.",
            "HDF5, Arrow and Parquet are read.",
        )
    weights = behaviour_weights(directory / POLICY_FILE)
    notes: list[str] = []
    with open_storage(directory) as storage:
        key, episodes = _outlined(storage, metadata, place, directory, options, notes)
        declared = (
            options.log_prob_convention
            or metadata.get("gipo_convention")
            or storage.declared
            or metadata.get("log_prob_convention")
            or (weights.output_distribution if weights else None)
        )
        terminated, truncated = flags(episodes, notes)
        observations, final = episodes.observations()
        actions = episodes.per_step("actions")
        rewards = episodes.per_step("rewards")
        log_probs, resets_first = _log_probs(episodes, key, notes)
        recorded = _recorded(episodes, resets_first, actions.shape)
    convention, actions = convention_of(place, actions, declared if isinstance(declared, str) else None, notes)
    action_space, actions = _action_space(metadata, actions, convention)
    return Trajectories(
        name=name,
        source=str(place),
        observations=observations,
        actions=actions,
        rewards=rewards,
        behaviour_log_probs=log_probs,
        terminated=terminated,
        truncated=truncated,
        final_observations=final,
        episode_starts=np.cumsum([0, *episodes.steps]).astype(np.int64),
        action_space=action_space,
        convention=convention,
        environment=_environment(metadata),
        behaviour_weights=weights,
        log_probs_origin=_origin(metadata, key, options),
        repairs=_repairs(metadata),
        notes=tuple(notes),
        **recorded,
    )


def _outlined(
    storage: Storage, metadata: dict[str, Any], place: Path, directory: Path, options: ReadOptions, notes: list[str]
) -> tuple[str | None, Episodes]:
    """Where log-probs are, and what all episodes are like."""
    claimed = metadata.get("total_episodes")
    if isinstance(claimed, int) and claimed != len(storage.names):
        notes.append(f"{METADATA_FILE} claims {claimed} episodes, the data holds {len(storage.names)}.")
    observed = observed_keys(storage, _space(metadata.get("observation_space")), place)
    for key, space in observed:
        _refuse_image(key, space, metadata, place)
    if len(observed) > 1:
        names = ", ".join(key.removeprefix("observations/") for key, _ in observed[:MOST_NAMED])
        notes.append(f"observations are {len(observed)} arrays ({names}); they are laid side by side in this order.")
    if storage.members(0, "actions"):
        raise DataError(f"{place}: its actions are a Dict or Tuple of arrays; expected one array.")
    infos = storage.members(0, "infos")
    key = _log_prob_key(storage, infos, options, place)
    if key is None:
        notes.append(what_there_is("infos", infos))
    wanted = [key] if key else []
    wanted += [info for info in RECORDED.values() if info.removeprefix("infos/") in infos]
    shapes = [(key, _shape(space)) for key, space in observed]
    return key, outlined(
        storage, place, directory, shapes, _shape(_space(metadata.get("action_space"))), wanted, notes
    )  # fmt: skip


def _log_prob_key(storage: Storage, infos: list[str], options: ReadOptions, place: Path) -> str | None:
    """Where episodes keep their log-probs: in infos or one group below, none where the first has none."""
    below = {info: storage.members(0, f"infos/{info}") for info in infos}
    known = {f"infos/{info}" for info, members in below.items() if not members}
    known |= {f"infos/{info}/{member}" for info, members in below.items() for member in members}
    nested = [f"infos/{info}/" for info, members in below.items() if members]
    return log_prob_key(options, known.__contains__, ("infos/", *nested), place, known)


def _log_probs(episodes: Episodes, key: str | None, notes: list[str]) -> tuple[np.ndarray, bool]:
    """Log-probs with step t's value in row t, [N]; and whether row 0 of longer infos belongs to the reset.

    Of T + 1 rows one is a placeholder. A nan tells which; without one DataCollector's layout is assumed, where row 0
    belongs to the reset, and the assumption is noted.
    """
    if key is None:
        return np.full(int(episodes.steps.sum()), np.nan, np.float32), True
    stored = episodes.as_stored(key)
    placeholder = episodes.placeholder(key, stored)
    if placeholder == "unmarked":
        notes.append(
            "log-probs have a row more than there are steps; row 0 is taken for the reset, as DataCollector writes "
            "it. If step t's value stands in row t, store one row a step."
        )
    resets_first = placeholder != "last"
    return episodes.aligned(key, stored, resets_first), resets_first


def _recorded(episodes: Episodes, resets_first: bool, acted: tuple[int, ...]) -> dict[str, Any]:
    """What else was recorded of every step, where it was."""
    found: dict[str, Any] = {}
    for name, key in RECORDED.items():
        if key not in episodes.columns:
            continue
        column = episodes.aligned(key, episodes.as_stored(key), resets_first)
        if name != "policy_versions" and column.ndim == 1:
            column = column[:, None]
        expected = acted[:1] if name == "policy_versions" else acted if len(acted) > 1 else (*acted, 1)
        if column.shape != expected:
            raise DataError(f"{episodes.place}: '{key}' has shape {list(column.shape)}; expected {list(expected)}.")
        found[name] = column
    return found


def _origin(metadata: dict[str, Any], key: str | None, options: ReadOptions) -> Origin:
    if key is None:
        return "none"
    said = metadata.get("gipo_log_probs_origin")
    return cast(Origin, said) if said in ORIGINS and not options.log_prob_key else "recorded"


def _repairs(metadata: dict[str, Any]) -> tuple[str, ...]:
    """The repairs that gipo says it has applied."""
    said = metadata.get("gipo_repairs")
    return tuple(said) if isinstance(said, list) and all(isinstance(name, str) for name in said) else ()


def _shape(space: dict[str, Any]) -> tuple[int, ...] | None:
    """The shape that a Box names; none for other spaces, and where it is no list of sizes."""
    shape = space.get("shape")
    whole = isinstance(shape, list) and all(type(size) is int and 0 <= size < 2**31 for size in shape)
    return tuple(cast(list[int], shape)) if whole else None


def _refuse_image(key: str, space: dict[str, Any], metadata: dict[str, Any], place: Path) -> None:
    shape = _shape(space) or ()
    large = len(shape) in (2, 3) and min(shape[:2]) >= SMALLEST_IMAGE
    if large and space.get("dtype") == "uint8" and metadata.get("jpeg_encoding", True):
        raise DataError(
            f"{place}: '{key}' holds images stored as JPEG; expected numbers.",
            "Minari writes plain arrays under jpeg_encoding=False.",
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


def _space(text: object) -> dict[str, Any]:
    """The fields of a serialised space: a JSON text, or the object itself; empty where there is none."""
    found = _json(text) if isinstance(text, str) else text
    return found if isinstance(found, dict) else {}


def _action_space(metadata: dict[str, Any], actions: np.ndarray, convention: str) -> tuple[ActionSpace, np.ndarray]:
    """The action space that metadata.json names, else the one that the actions fill; and actions counted from 0."""
    space = _space(metadata.get("action_space"))
    if convention in DISCRETE:
        counts, starts = _choices(space, 1 if actions.ndim == 1 else actions.shape[1])
        if counts is None:
            return space_of_choices(actions, None), actions
        first = np.asarray(starts if actions.ndim > 1 else starts[0])
        return space_of_choices(actions, counts), actions - first if first.any() else actions
    # A Box has bounds even where the log that gipo wrote into it has none.
    known = metadata.get("gipo_action_bounds")
    sides = known if isinstance(known, list) else ["low", "high"]
    bounds = [_bound(space, side) if side in sides else None for side in ("low", "high")]
    fitting = [bound if bound is not None and bound.shape == actions.shape[1:] else None for bound in bounds]
    return ActionSpace(shape=actions.shape[1:], low=fitting[0], high=fitting[1]), actions


def _choices(space: dict[str, Any], dimensions: int) -> tuple[list[int] | None, list[int]]:
    """Choices of each dimension of a Discrete, MultiDiscrete or MultiBinary, none if not told, and the first ones."""
    binary = space.get("type") == "MultiBinary"
    told = [2] * dimensions if binary else space.get("n", space.get("nvec")), space.get("start", 0)
    counts, starts = (value if isinstance(value, list) else [value] for value in told)
    starts = starts * dimensions if len(starts) == 1 else starts
    numbers = [n for n in (*counts, *starts) if type(n) is int and abs(n) <= LARGEST_START]
    if len(counts) != dimensions or len(starts) != dimensions or len(numbers) != 2 * dimensions:
        return None, []
    return numbers[:dimensions], numbers[dimensions:]


def _bound(space: dict[str, Any], side: str) -> np.ndarray | None:
    value = space.get(side)
    if not isinstance(value, list) or not _is_of_numbers(value):
        return None
    try:
        with np.errstate(over="ignore"):  # beyond float32 is no bound
            return np.asarray(value, np.float64 if space.get("dtype") == "float64" else np.float32)
    except ValueError:  # lists of different lengths
        return None


def _is_of_numbers(value: object, deepest: int = 8) -> bool:
    """Whether it is a number, or lists of them in lists, one for each axis of a box."""
    if isinstance(value, list):
        return deepest > 0 and all(_is_of_numbers(below, deepest - 1) for below in value)
    # Python integers have no end, float32 has: a bound beyond it is damage, and counts as none.
    return isinstance(value, float) or (isinstance(value, int) and abs(value) < LARGEST_BOUND)


def _environment(metadata: dict[str, Any]) -> str | None:
    """The environment's name as text; its entry point and the rest are never looked at."""
    if "gipo_environment" in metadata:
        named = metadata["gipo_environment"]
    else:
        named = _space(metadata.get("env_spec")).get("id")
    return named if isinstance(named, str) else None


MINARI = Reader(recognises=recognises, read=read)
