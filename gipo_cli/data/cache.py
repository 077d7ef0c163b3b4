"""Where gipo keeps what it can make again: recorded logs, fetched files, and columns too large for memory."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np

from gipo_cli.data.resident import watched
from gipo_cli.errors import DataError

# A column beyond this size, or this share of a small machine's memory, is kept on the disk and mapped: a training has
# about twenty columns, and those in memory should come to 2 GB at most, however many rows there are.
LARGEST_COLUMN, SHARE_OF_MEMORY = 2**27, 32
SPARE_DISK = 2**28  # bytes left free
LARGEST_DOCUMENT = 2**20  # bytes; what is longer is none of ours
SOURCE = "source"  # file beside the columns of a source, with its path


def cache_root() -> Path:
    """$GIPO_CACHE, else gipo below $XDG_CACHE_HOME or ~/.cache."""
    named = os.environ.get("GIPO_CACHE")
    return Path(named) if named else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gipo"


def largest_in_memory() -> int:
    """Bytes of the largest column that is in memory: $GIPO_COLUMN_MEMORY, else 128 MiB, or less on a small machine."""
    named = os.environ.get("GIPO_COLUMN_MEMORY", "")
    if named.isdigit():
        return int(named)
    return min(LARGEST_COLUMN, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // SHARE_OF_MEMORY)


def scratch(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An array to be filled, in memory where it fits, else in a file without a name that is gone when the array is.

    Raises:
        DataError: the disk has no room for it.
    """
    size = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if size <= largest_in_memory():
        return np.empty(shape, dtype)
    with unnamed_file(size) as file:
        try:
            return watched(np.memmap(file, dtype, "w+", shape=shape))
        except OSError as error:
            reason = f"{size:,} bytes cannot be kept in {cache_root()} ({error.strerror})."
            raise DataError(reason, _CACHE_HINT) from error


def unnamed_file(size: int) -> IO[bytes]:
    """A file in the cache that is gone when it is closed.

    Raises:
        DataError: the disk has no room for so many bytes, or the cache cannot be written.
    """
    _require_room(cache_root(), size, "what is computed of each row")
    try:
        return tempfile.TemporaryFile(dir=cache_root())
    except OSError as error:
        raise DataError(f"the cache {cache_root()} cannot be written ({error.strerror}).", _CACHE_HINT) from error


def filled(
    source: Path, name: str, shape: tuple[int, ...], dtype: np.dtype, fill: Callable[[np.ndarray], None]
) -> np.ndarray:
    """A column, in memory where it fits, else mapped from a .npy in the cache that later openings use again.

    Whenever one is written, those of sources that have changed or are gone leave the disk.

    Args:
        source: the file or directory that the column comes from; a changed size or time makes a new column.
        name: of the column in its source.
        shape: rows first.
        dtype: in this machine's byte order.
        fill: writes the rows into the array it is given, piece by piece.

    Raises:
        DataError: the disk has no room for it, or the address space.
    """
    size = int(np.prod(shape, dtype=object)) * dtype.itemsize
    if size <= largest_in_memory():
        column = np.empty(shape, dtype)
        fill(column)
        return column
    place = _columns() / _hashed(os.fsencode(source.resolve())) / _identity(source) / f"{_file_name(name)}.npy"
    try:
        found = np.load(place, mmap_mode="r", allow_pickle=False)
        if found.shape == shape and found.dtype == dtype:
            return watched(found)
    except (OSError, ValueError, EOFError):
        pass  # not there, or damaged, which is as good as not there
    _forget_others(place.parent, source)
    return _mapped(place, name, shape, dtype, size, fill)


def _columns() -> Path:
    """Where columns are kept: a directory for each source, and in it one for each state that the source was in."""
    return cache_root() / "columns"


def _forget_others(current: Path, source: Path) -> None:
    """Remove what is kept of earlier states of a source, and of sources that are gone; who has it mapped keeps it."""
    with suppress(OSError, ValueError):
        current.parent.mkdir(parents=True, exist_ok=True)
        (current.parent / SOURCE).write_bytes(os.fsencode(source.resolve()))
        old = [place for place in current.parent.iterdir() if place.is_dir() and place != current]
        kept = [*_columns().glob(f"*/{SOURCE}")]
        gone = [named.parent for named in kept if not Path(os.fsdecode(named.read_bytes())).exists()]
        for place in (*old, *gone):
            shutil.rmtree(place, ignore_errors=True)


def _mapped(
    place: Path, name: str, shape: tuple[int, ...], dtype: np.dtype, size: int, fill: Callable[[np.ndarray], None]
) -> np.ndarray:
    _require_room(place.parent, size, f"'{name[:80]}'")
    aside = place.with_name(f".{place.name}.tmp-{os.getpid()}")
    try:
        try:
            column = watched(np.lib.format.open_memmap(aside, "w+", dtype, shape))
        except OSError as error:
            reason = f"'{name[:80]}' has {size:,} bytes, and {place.parent} cannot hold it ({error.strerror})."
            raise DataError(reason, _CACHE_HINT) from error
        fill(column)
        column.flush()
        try:
            os.replace(aside, place)
        except FileNotFoundError:  # the source has changed, and another process has removed what was kept of it
            return column
    finally:
        aside.unlink(missing_ok=True)
    return watched(np.load(place, mmap_mode="r", allow_pickle=False))


def _require_room(place: Path, size: int, what: str) -> None:
    """Refuse what the disk has no room for: a map that it runs out under ends the process without a word."""
    try:
        place.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(place).free
    except OSError as error:
        raise DataError(f"the cache {place} cannot be made ({error.strerror}).", _CACHE_HINT) from error
    if size + SPARE_DISK > free:
        raise DataError(
            f"{what} has {size:,} bytes, more than memory takes, and {place} has {free:,} left.", _CACHE_HINT
        )


def cached_array(kind: str, key: str, make: Callable[[], np.ndarray]) -> np.ndarray:
    """An array that takes long to make, from the cache where an earlier call has left it there under the same key.

    A cache that cannot be written or holds a damaged file costs time, nothing else. What memory does not take is
    mapped.
    """
    place = _place(kind, key, ".npy")
    try:
        mapped = place.stat().st_size > largest_in_memory()
        found = np.load(place, mmap_mode="r" if mapped else None, allow_pickle=False)
        return watched(found) if mapped else found
    except (OSError, ValueError, EOFError):
        made = make()
    _keep(place, lambda file: np.save(file, made, allow_pickle=False))
    return made


def cached_document(kind: str, key: str, make: Callable[[], Any], is_one: Callable[[Any], bool]) -> Any:
    """A small JSON document that takes long to make, in the same way.

    Args:
        kind: the directory in the cache.
        key: all that decides what it says.
        make: it anew; plain values, infinity among them.
        is_one: whether what was found may be used: its checksum finds damage, and not what somebody else put there.
    """
    place = _place(kind, key, ".json")
    found = _document(place)
    if found is not None and is_one(found):
        return found
    made = make()
    text = json.dumps(made).encode()
    _keep(place, lambda file: file.write(hashlib.sha256(text).hexdigest().encode() + b"\n" + text))
    return made


def _document(place: Path) -> Any:
    """What a file of `cached_document` holds; none where there is none, or it is damaged."""
    try:
        with place.open("rb") as file:
            checksum, _, text = file.read(LARGEST_DOCUMENT).partition(b"\n")
        return json.loads(text) if hashlib.sha256(text).hexdigest().encode() == checksum else None
    except (OSError, ValueError, RecursionError):
        return None


def _place(kind: str, key: str, suffix: str) -> Path:
    return cache_root() / kind / (_hashed(key.encode()) + suffix)


def _keep(place: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file of the cache whole or not at all; that it cannot be written is nobody's trouble."""
    aside = place.with_name(f".{place.name}.tmp-{os.getpid()}")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with aside.open("wb") as file:
            write(file)
        os.replace(aside, place)
    except OSError:
        with suppress(OSError):
            aside.unlink(missing_ok=True)


def _file_name(name: str) -> str:
    """A column's name to read, as far as file systems take it, and all of it to tell it from others."""
    return f"{name.replace('/', '-')[:40]}-{hashlib.sha256(name.encode(errors='surrogateescape')).hexdigest()[:16]}"


_CACHE_HINT = "Make room there, or set GIPO_CACHE to a directory that has it."


def _identity(source: Path) -> str:
    """A name for a file, or for all files below a directory, that changes whenever one of them does."""
    files = sorted(path for path in source.rglob("*") if path.is_file()) if source.is_dir() else [source]
    states = [os.fsencode(source.resolve())]
    for file in files:
        stat = file.stat()
        states.append(os.fsencode(file.relative_to(source)))
        states.append(f" {stat.st_size} {stat.st_mtime_ns} {stat.st_ino}".encode())
    return _hashed(b"".join(states))


def _hashed(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:24]
