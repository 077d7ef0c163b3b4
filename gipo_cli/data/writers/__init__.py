"""One file per format, and the contract they keep.

A writer is `write(log, path, origin)`. It makes `path` new: one file, or for Minari one directory. What is there is
never overwritten; the log is written aside, reaches the disk, and only then gets its name, so that a failure or a kill
leaves no half of one. Reading the place again gives the fingerprint of `log`. Columns are written a block of rows at a
time: one that is mapped from a disk is never in memory as a whole. `origin` is what a person may want to know later:
seeds, versions, the command. It is kept as text and numbers, and nothing is decided by it.

A log without log-probs (`log_probs_origin="none"`) is written without the column.

Raises SettingError where the path is taken or cannot be written.
"""

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np

from gipo_cli.data.trajectories import Trajectories
from gipo_cli.errors import SettingError

Origin = Mapping[str, str | int | float]
Writer = Callable[[Trajectories, Path, Origin | None], None]
FORMAT = 1  # of the JSON text beside the columns of NPZ and Parquet
# A file system without hard links says so in one of these ways.
NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


def refuse_existing(path: Path) -> None:
    """Refuse a path that is taken or cannot be written, before any work is done for it.

    Raises:
        SettingError: it is one of these.
    """
    if os.path.lexists(path):
        raise SettingError(f"{path} exists; a log is never overwritten.", "Choose another name, or move it away.")
    try:
        if not path.parent.is_dir():
            raise SettingError(f"there is no directory {path.parent} to write {path.name} in.", "Make it first.")
        with suppress(FileNotFoundError):
            os.lstat(path)  # tells a name that is too long, for which lexists has but a no
        with TemporaryFile(dir=path.parent):
            pass  # the directory takes files
    except OSError as error:
        raise SettingError(f"{path} cannot be written ({error.strerror or error}).", "Choose another place.") from error


@contextmanager
def new_place(path: Path) -> Iterator[Path]:
    """A free path beside `path` to write a file or a directory at; what stands there in the end becomes `path`.

    Raises:
        SettingError: `path` is taken, also by what appeared meanwhile, or cannot be written.
    """
    refuse_existing(path)
    # 50 characters are 200 bytes at most; a name has 255.
    aside = path.with_name(f".{path.name[:50]}.tmp-{os.getpid()}")
    try:
        yield aside
        _sync(aside)
        _publish(aside, path)
        _sync_one(path.parent)
    except FileExistsError as error:
        raise SettingError(f"{path} exists; a log is never overwritten.", "Choose another name.") from error
    except OSError as error:
        raise SettingError(f"{path} cannot be written ({error.strerror or error}).") from error
    finally:
        if aside.is_dir():
            shutil.rmtree(aside, ignore_errors=True)
        else:
            aside.unlink(missing_ok=True)


def _publish(aside: Path, path: Path) -> None:
    if aside.is_dir():
        os.rename(aside, path)  # refuses a file and a directory that holds anything
        return
    try:
        os.link(aside, path)  # link, not rename: it refuses a file that appeared while this one was being written
    except OSError as error:
        if error.errno not in NO_LINKS:
            raise
        refuse_existing(path)
        os.rename(aside, path)


def _sync(place: Path) -> None:
    if place.is_dir():
        for below in place.rglob("*"):
            _sync_one(below)
    _sync_one(place)


def _sync_one(place: Path) -> None:
    handle = os.open(place, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def columns_of(log: Trajectories) -> dict[str, np.ndarray]:
    """The columns of one row a step that a log has, by the names of their fields."""
    names = (
        "observations", "actions", "rewards", "behaviour_log_probs", "terminated", "truncated",
        "pre_squash_actions", "executed_actions", "policy_versions",
    )  # fmt: skip
    found = {name: getattr(log, name) for name in names}
    if log.log_probs_origin == "none":
        del found["behaviour_log_probs"]
    return {name: column for name, column in found.items() if column is not None}


def arrays_of(log: Trajectories) -> dict[str, np.ndarray]:
    """What a log holds beside its rows and episode starts: final observations, bounds, weights."""
    space, weights = log.action_space, log.behaviour_weights
    found = {"final_observations": log.final_observations, "action_low": space.low, "action_high": space.high}
    found |= {f"weights/{name}": array for name, array in sorted(weights.arrays.items())} if weights else {}
    return {name: native(array) for name, array in found.items() if array is not None}


def listed(choices: Iterable[int]) -> str:
    """Choices of each dimension as one text, where a format has no lists of numbers: 256,256."""
    return ",".join(map(str, choices))


def native(array: np.ndarray) -> np.ndarray:
    """An array without gaps in this machine's byte order: the same array where it is so already."""
    return np.ascontiguousarray(array, array.dtype.newbyteorder("=")).reshape(array.shape)


def description(log: Trajectories, origin: Origin | None) -> str:
    """What a log is beside its arrays, as one JSON text: the member or the metadata named `gipo`."""
    weights = log.behaviour_weights
    network: dict[str, Any] | None = weights and {
        "nonlinearity": weights.nonlinearity,
        "output_distribution": weights.output_distribution,
        "observation_clip": weights.observation_clip,
        "observation_epsilon": weights.observation_epsilon,
        "log_std_bounds": weights.log_std_bounds,
        **({"choices": weights.choices} if weights.choices else {}),
    }
    return json.dumps({
        "format": FORMAT,
        "name": log.name,
        "convention": log.convention,
        "log_probs_origin": log.log_probs_origin,
        "environment": log.environment,
        "action_choices": log.action_space.n or log.action_space.nvec,
        "action_shape": list(log.action_space.shape),
        "observation_shape": list(log.observations.shape[1:]),
        "weights": network,
        "repairs": list(log.repairs),
        "origin": dict(origin or {}),
    })  # fmt: skip
