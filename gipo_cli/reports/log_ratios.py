"""log_ratios.npz of a run, from whoever wrote it: nothing in it is run, and all of it is checked."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from gipo_cli.data import npz
from gipo_cli.data.cache import scratch
from gipo_cli.data.resident import blocks
from gipo_cli.errors import DataError, RunError
from gipo_cli.runs import LOG_RATIOS, RunDirectory

COLUMNS = {"log_ratio": "f", "advantage": "f", "episode": "iu", "held_out": "b"}  # name -> kinds of numpy dtype
PARTS = "log_ratio_parts"  # [N, A], there where the ratios are per dimension
VERSION = "version"  # of the behaviour policy that acted, where several did
HOME = "home"  # rows of the policy that training started from, where several acted; of older runs: all
STEP = "step"  # updates of the policy that they are of; one number
LARGEST = 2**33  # bytes; 300 million steps, and an archive that claims more is not one of ours


def read_log_ratios(place: RunDirectory) -> dict[str, np.ndarray]:
    """The columns of a run by name, [N], of PARTS [N, A], and STEP; in memory, or mapped where too large.

    Raises:
        RunError: there are none yet, or they are damaged.
        DataError: the cache has no room for them.
    """
    path = place.path / LOG_RATIOS
    resume = f"gipo train --resume {place.path}"
    if not path.exists():
        hint = f"Training writes it when it ends or is stopped; wait for that, or: {resume}"
        if place.record().get("status") == "diverged":
            hint = f"It diverged, which ended it before that was written. How it went: gipo report {place.path}"
        raise RunError(f"{place.path} has no {LOG_RATIOS}.", hint)
    again = f"Delete it and write it again with: {resume}"
    found = _members(path, again)
    _require_shapes(found, path, again)
    columns = {name: _column(path, member, again) for name, member in found.items()}
    if HOME in columns and not any(block.any() for _, block in blocks(columns[HOME])):
        raise _not_home(path, len(columns[HOME]), again)
    for name in ("log_ratio", "advantage", PARTS):
        if name in columns:
            _require_finite(name, columns[name], path, again)
    return columns


def _members(path: Path, again: str) -> dict[str, npz.Member]:
    """What the file has of the columns, none of it read yet."""
    with _damage(path, again):
        with zipfile.ZipFile(path) as archive:
            claimed = sum(member.file_size for member in archive.infolist())
        if claimed > LARGEST:
            raise RunError(f"{path} claims {claimed:,} bytes, more than any run writes.", again)
        found = npz.members(path)
    missing = [name for name in COLUMNS if name not in found]
    if missing:
        raise RunError(f"{path} has no array '{missing[0]}'.", again)
    return {name: found[name] for name in (*COLUMNS, PARTS, VERSION, HOME, STEP) if name in found}


def _require_shapes(found: dict[str, npz.Member], path: Path, again: str) -> None:
    first = found["log_ratio"].shape
    size = int(np.prod(first, dtype=object))
    for name, kinds in COLUMNS.items():
        column = found[name]
        if column.dtype.kind not in kinds:
            raise RunError(f"{name} in {path} holds {column.dtype} values, which are of the wrong kind.", again)
        if column.shape != (size,):
            raise RunError(f"{name} in {path} has the shape {list(column.shape)}; expected [{size}].", again)
    if size == 0:
        raise RunError(f"{path} holds no transitions.", again)
    home, version, parts = (found.get(name) for name in (HOME, VERSION, PARTS))
    if home is not None and not (home.dtype.kind == "b" and home.shape == (size,)):
        raise _not_home(path, size, again)
    if version is not None and not (version.dtype.kind in "iu" and version.shape == (size,)):
        raise RunError(f"{VERSION} in {path} does not number the policy of each of the {size} rows.", again)
    step = found.get(STEP)
    if step is not None and not (step.dtype.kind in "iu" and step.shape == ()):
        raise RunError(f"{STEP} in {path} is no number of updates.", again)
    if parts is not None and not (parts.dtype.kind == "f" and len(parts.shape) == 2 and parts.shape[0] == size):
        raise RunError(f"{PARTS} in {path} has the shape {list(parts.shape)}; expected [{size}, dimensions].", again)


def _not_home(path: Path, size: int, again: str) -> RunError:
    return RunError(f"{HOME} in {path} does not say of each of the {size} rows whether it is one.", again)


def _column(path: Path, member: npz.Member, again: str) -> np.ndarray:
    column = scratch(member.shape, member.dtype.newbyteorder("="))
    with _damage(path, again):
        npz.fill(path, member, column)
    return column


def _require_finite(name: str, column: np.ndarray, path: Path, again: str) -> None:
    first, count = None, 0
    for start, block in blocks(column):
        bad = np.flatnonzero(~np.isfinite(block).reshape(len(block), -1).all(1))
        if bad.size and first is None:
            first = start + bad[0]
        count += bad.size
    if first is not None:
        raise RunError(f"{name} in {path} is {column[first]} at row {first} ({count} such rows).", again)


@contextmanager
def _damage(path: Path, again: str) -> Iterator[None]:
    try:
        yield
    except (OSError, DataError, zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        # Some messages advise to switch pickles on; that is the last thing to do.
        why = "it holds pickled objects, which are never read" if "pickle" in str(error).lower() else "it is damaged"
        raise RunError(f"{path} cannot be read: {why}.", again) from error
