"""TorchRL's logs: a directory of a TensorDict's memory-mapped leaves, a TED replay buffer or a collector's batch.

Every directory has a meta.json that gives shape and dtype of each leaf, and the leaf's numbers raw in NAME.memmap.
Only those are opened, read-only; classes that a meta.json names are never imported and no *.pickle is read.
"""

from pathlib import Path
from typing import Any

import numpy as np

from gipo_cli.data import json_text
from gipo_cli.data.flat import FlatLog, to_trajectories
from gipo_cli.data.interleaved import restarts
from gipo_cli.data.log_probs import log_prob_key, what_there_is
from gipo_cli.data.options import ReadOptions
from gipo_cli.data.places import first_bytes, inside
from gipo_cli.data.readers import Reader
from gipo_cli.data.trajectories import Trajectories
from gipo_cli.errors import DataError

# float16 and the integers as numpy has them; bfloat16 and complex numbers it has not, or no log has.
DTYPES = {
    f"torch.{name}": np.dtype(name)
    for name in ("float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool")
}
LARGEST_META = 1 << 22
LOOKED_AT = 64  # environments and steps that tell which axis is time
DEEPEST = 8
MOST_LEAVES = 10_000
KNOWN = {
    "observations": ("observation", "observations", "obs", "pixels"),
    "actions": ("action", "actions"),
    "rewards": ("next/reward", "reward"),
    "next_observations": ("next/observation", "next/observations", "next/obs", "next/pixels"),
    "terminated": ("next/terminated",),
    "truncated": ("next/truncated",),
    "done": ("next/done",),
    "episodes": ("collector/traj_ids", "traj_ids", "episode"),
    "policy_versions": ("collector/policy_version", "policy_version"),
}


def recognises(place: Path) -> bool:
    """Whether the directory has a meta.json of a tensordict."""
    try:
        return b"tensordict" in first_bytes(inside(place, place / "meta.json"), (), LARGEST_META)
    except (DataError, OSError):
        return False


def read(place: Path, name: str, options: ReadOptions) -> Trajectories:
    """Read a memory-mapped tensordict whose first axes are environments and time, or time alone.

    Raises:
        DataError: a leaf that is missing, of another size than its meta.json says, or outside of the directory.
    """
    batch, leaves, unread = _leaves(place)
    groups = ("", "collector/", "next/infos/", "infos/", "info/")
    key = log_prob_key(options, leaves.__contains__, groups, place, leaves)
    found = {role: next((n for n in names if n in leaves), None) for role, names in KNOWN.items()} | {"log_probs": key}
    for role in ("observations", "actions", "rewards"):
        if found[role] is None:
            raise DataError(
                f"{place} has no leaf '{KNOWN[role][0]}'.", f"It holds: {', '.join(sorted(leaves)[:40]) or 'nothing'}."
            )
    columns: dict[str, Any] = {
        role: None if leaf is None else _column(place, leaf, leaves[leaf], batch) for role, leaf in found.items()
    }
    notes = [f"not read, since only numbers are: {', '.join(unread[:8])}."] if unread else []
    if key is None:
        notes.append(what_there_is("leaves", leaves))
    held = _held(place, batch, columns["observations"])
    columns = {role: None if column is None else column[:held] for role, column in columns.items()}
    lanes = (held, *batch[1:])
    if len(batch) == 2 and _time_is_first(columns["observations"], columns["next_observations"]):
        notes.append("its first axis is time; each environment's steps were put together.")
        columns = {role: None if column is None else column.swapaxes(0, 1) for role, column in columns.items()}
        lanes = lanes[::-1]
    columns = {r: None if c is None else c.reshape(-1, *c.shape[len(batch) :]) for r, c in columns.items()}
    actions, choices = _actions(place, columns["actions"], notes)
    return to_trajectories(
        FlatLog(
            place=place,
            name=name,
            observations=columns["observations"],
            actions=actions,
            rewards=columns["rewards"],
            log_probs=columns["log_probs"],
            terminals=columns["terminated"],
            timeouts=columns["truncated"],
            done=columns["done"],
            next_observations=columns["next_observations"],
            episodes=_episodes(columns["episodes"], lanes),
            policy_versions=columns["policy_versions"],
            declared_convention=options.log_prob_convention or ("categorical" if choices else None),
            choices=[choices] if choices else None,
            notes=notes,
            names={ours: leaf for ours, leaf in found.items() if leaf},
        )
    )


def _leaves(place: Path) -> tuple[tuple[int, ...], dict[str, tuple[Path, tuple[int, ...], str]], list[str]]:
    """The batch's shape; file, shape and dtype of each leaf by path; and what holds no plain numbers."""
    batch: tuple[int, ...] = ()
    leaves: dict[str, tuple[Path, tuple[int, ...], str]] = {}
    unread: list[str] = []
    below = [(place, "", 0)]
    while below:
        directory, path, depth = below.pop()
        file = inside(place, directory / "meta.json")
        meta = _meta(file)
        if path == "":
            batch = _shape(file, "shape", meta.get("shape"))
            if not batch:
                raise DataError(f"{file}: the tensordict has no batch axis; expected time, or environments and time.")
        for name, about in meta.items():
            if not isinstance(about, dict):
                continue
            if "/" in name or "\\" in name or name in ("", ".", ".."):
                unread.append(path + name[:80])
            elif "type" in about:
                if str(about["type"]).endswith("TensorDict") and depth < DEEPEST:
                    below.append((directory / name, f"{path}{name}/", depth + 1))
                else:
                    unread.append(path + name)
            elif about.get("is_nested") or not isinstance(about.get("dtype"), str):
                unread.append(path + name)
            else:
                leaves[path + name] = (
                    directory / f"{name}.memmap",
                    _shape(file, name, about.get("shape")),
                    about["dtype"],
                )
        if len(leaves) > MOST_LEAVES:
            raise DataError(f"{place} has more than {MOST_LEAVES:,} leaves.")
    return batch, leaves, sorted(unread)


def _meta(file: Path) -> dict[str, Any]:
    text = _text(file)
    meta = json_text.parse(text, str(file))
    if not isinstance(meta, dict):
        raise DataError(f"{file} is not an object of leaves.")
    return meta


def _text(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            text = opened.read(LARGEST_META + 1)
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror or error}).") from error
    if len(text) > LARGEST_META:
        raise DataError(f"{file} is larger than {LARGEST_META >> 20} MiB.")
    return text


def _shape(file: Path, name: str, value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or len(value) > 32 or not all(type(n) is int and 0 <= n < 2**63 for n in value):
        raise DataError(f"{file}: '{name[:80]}' has no shape that an array can have.")
    return tuple(value)


def _column(place: Path, leaf: str, about: tuple[Path, tuple[int, ...], str], batch: tuple[int, ...]) -> np.ndarray:
    """A leaf, mapped from its file and never written to, [*batch, ...]."""
    file, shape, kind = about
    dtype = DTYPES.get(kind)
    if dtype is None:
        raise DataError(f"{place}: '{leaf}' is of {kind[:40]}; expected one of {', '.join(sorted(DTYPES))}.")
    inside(place, file)
    expected, size = int(np.prod(shape, dtype=object)) * dtype.itemsize, file.stat().st_size
    if size != expected:
        raise DataError(f"{file} has {size:,} bytes, and its shape {list(shape)} of {dtype} needs {expected:,}.")
    if expected == 0 or shape[: len(batch)] != batch:
        raise DataError(f"{place}: '{leaf}' has shape {list(shape)}; expected {list(batch)} first, as the batch has.")
    return np.memmap(file, dtype, "r", shape=shape)


def _held(place: Path, batch: tuple[int, ...], observations: np.ndarray) -> int:
    """How much of the first axis a replay buffer holds; the rest of its storage was never written.

    TorchRL counts steps where the storage has several axes of its own, and rows of the first axis where it has one,
    and the file does not say which: where both are possible, rows that were never written, all zero, tell.
    """
    file = place / "storage_metadata.json"
    if not file.exists():
        return batch[0]
    held, beside = _meta(inside(place, file)).get("len"), int(np.prod(batch[1:], dtype=object))
    whole = batch[0] * beside
    if type(held) is not int or not 0 < held <= whole:
        raise DataError(f"{file}: 'len' is {str(held)[:40]}; expected up to the {whole:,} steps of the storage.")
    rows = max(held // beside, 1)
    return held if held <= batch[0] and observations[rows:held].any() else rows


def _time_is_first(observations: np.ndarray, following: np.ndarray | None) -> bool:
    """Whether the row after a step lies along the first axis, [T, B], as replay buffers of two axes keep it."""
    if following is None or following.shape != observations.shape:
        return False
    here, after = observations[:LOOKED_AT, :LOOKED_AT], following[:LOOKED_AT, :LOOKED_AT]
    followed = []
    for axis in (0, 1):
        steps = here.shape[axis] - 1
        same = here.take(range(1, steps + 1), axis) == after.take(range(steps), axis)
        followed.append(same.reshape(*same.shape[:2], -1).all(-1).mean() if same.size else 0.0)
    return followed[0] > followed[1]


def _actions(place: Path, actions: np.ndarray, notes: list[str]) -> tuple[np.ndarray, int | None]:
    """Choices as numbers: TorchRL's default for a discrete action is one-hot, that for several are numbers already."""
    if actions.dtype.kind in "iu" and actions.max(initial=0) > 1:
        return actions, None
    if actions.ndim == 2 and actions.shape[1] > 1 and actions.dtype.kind in "biu":
        if not ((actions == 0) | (actions == 1)).all() or not (actions.sum(1) == 1).all():
            raise DataError(f"{place}: the actions are whole numbers of {actions.shape[1]} columns, and not one-hot.")
        notes.append("actions are one-hot; each became the number of its choice.")
        return actions.argmax(1), actions.shape[1]
    return (actions.astype(np.int64) if actions.dtype == bool else actions), None


def _episodes(named: np.ndarray | None, lanes: tuple[int, ...]) -> np.ndarray | None:
    """Which episode each row is of: another environment begins another one, whatever the trajectories' names."""
    rows = int(np.prod(lanes))
    lane = np.arange(rows) // lanes[-1] if len(lanes) > 1 else None
    if named is None:
        return lane
    named = named.reshape(rows, -1)[:, 0]
    return named if lane is None else restarts(lane, None, rows) + restarts(named, None, rows)


TENSORDICT = Reader(recognises=recognises, read=read)
