"""HDF5 from strangers: opened and read so that nothing in a file reaches another one or exhausts the machine."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import h5py
import numpy as np
from h5py import h5l, h5t  # pyright: ignore[reportAttributeAccessIssue]

from gipo_cli.data.cache import filled, largest_in_memory
from gipo_cli.data.hdf5_text import LONGEST, Texts, texts_of
from gipo_cli.data.resident import trim
from gipo_cli.data.trajectories import BLOCK
from gipo_cli.errors import DataError, brief
from gipo_cli.interrupts import deferred

LARGEST_COLUMN = 2**40  # bytes; beyond memory a column is mapped from the disk, which must have room
# gzip makes at most about 1000 bytes of one: a column that claims more per byte of its file is no data.
LARGEST_EXPANSION = 1100
LARGEST_CHUNK = 2**26  # bytes; h5py makes them of a million at most
LINKS = {h5l.TYPE_SOFT: "SoftLink", h5l.TYPE_EXTERNAL: "ExternalLink"}
# Types that are read in place; what refers to another part of the file, or is made of such, is not.
PLAIN = (h5t.TypeStringID, h5t.TypeIntegerID, h5t.TypeFloatID, h5t.TypeEnumID)
SIGNATURE = b"\x89HDF\r\n\x1a\n"


def is_hdf5(place: Path) -> bool:
    """Whether a file begins as HDF5 does."""
    try:
        if not place.is_file():  # a pipe would be waited for
            return False
        with place.open("rb") as file:
            return file.read(len(SIGNATURE)) == SIGNATURE
    except OSError:
        return False


def _names_a_driver(path: Path) -> bool:
    """Whether an old superblock says that the file is one of several; a damaged one makes the library take gigabytes.

    Versions 0 and 1 hold four addresses after 24 and 28 bytes, of the size that byte 13 says; the last is the driver's.
    """
    with path.open("rb") as file:
        head = file.read(96)
    if len(head) < 14 or head[8] > 1:
        return False
    start = 24 + 4 * head[8] + 3 * head[13]
    return head[start : start + head[13]] != b"\xff" * head[13]


@contextmanager
def open_safely(path: Path) -> Iterator[h5py.File]:
    """Open a file for reading.

    Raises:
        DataError: it is missing, a directory, not HDF5, truncated, damaged or being written.
    """
    if not path.exists():
        raise DataError(f"there is no file {path}.", "`gipo datasets list` shows what is bundled.")
    if path.is_dir():
        raise DataError(f"{path} is a directory, not an HDF5 file.")
    if not is_hdf5(path):
        raise DataError(f"{path} is not an HDF5 file.", "Expected a log in D4RL's HDF5 layout or a Minari dataset.")
    try:
        if _names_a_driver(path):
            raise OSError("it says to be one of several files")
        file = h5py.File(path, "r")
    except BlockingIOError as error:
        raise DataError(f"{path} is open for writing in another process.", "Wait until it is closed.") from error
    except (OSError, RuntimeError) as error:
        cut = "truncated file" in str(error)
        reason = "it is cut short" if cut else brief(error).split("(", 1)[-1].rstrip(")")
        raise DataError(f"{path} is a damaged HDF5 file: {reason}.", "Copy or download it again.") from error
    with deferred(), file:
        try:
            yield file
        except (OSError, RuntimeError, KeyError, ValueError) as error:
            # The library meets damage wherever it happens to look: while it lists a group, or reads an attribute.
            if isinstance(error, KeyError | ValueError) and "Unable to" not in str(error):
                raise  # not the library's: ours
            raise DataError(f"{path} is a damaged HDF5 file ({brief(error)}).", "Copy or download it again.") from error


def member(group: h5py.Group, key: str) -> h5py.Group | h5py.Dataset | None:
    """What is at `key` below a group, or none; links of any kind but hard ones are refused.

    Raises:
        DataError: the key is a soft or external link, or cannot be read.
    """
    here: h5py.Group | h5py.Dataset = group
    for part in key.split("/"):
        if not isinstance(here, h5py.Group):
            return None
        try:
            name = part.encode("utf-8", "surrogateescape")
            if not part or not here.id.links.exists(name):
                return None
            kind = here.id.links.get_info(name).type
            if kind != h5l.TYPE_HARD:
                raise DataError(
                    f"{group.file.filename}: '{key}' is a {LINKS.get(kind, 'link')}, which is not followed.",
                    "A link can reach other files of this machine; store the data itself.",
                )
            found = here[part]
            if isinstance(found, h5py.Datatype):
                return None
            here = found
        except (KeyError, RuntimeError, OSError, ValueError) as error:
            raise DataError(f"{group.file.filename}: '{key}' cannot be read ({brief(error)}).") from error
    return here


def column_of(group: h5py.Group, key: str) -> h5py.Dataset | None:
    """A numeric dataset that may be read by slices; none where there is no such key.

    Raises:
        DataError: it is not numeric, stored outside the file, virtual, or larger than it can be or memory takes.
    """
    found = member(group, key)
    if found is None:
        return None
    where = f"{group.file.filename}: '{key}'"
    if not isinstance(found, h5py.Dataset):
        raise DataError(f"{where} is a group; expected an array.")
    if found.external or found.is_virtual:
        raise DataError(f"{where} is stored outside the file, which is not read.", "Store the data itself.")
    dtype = type_of(found)
    if dtype is None or dtype.kind not in "fiub":
        raise DataError(f"{where} has type {dtype or 'unknown'}; expected numbers.")
    if found.shape is None:
        raise DataError(f"{where} holds nothing; expected an array.")
    size = int(np.prod(found.shape, dtype=object)) * dtype.itemsize
    on_disk = Path(group.file.filename).stat().st_size
    if size > LARGEST_COLUMN or size > on_disk * LARGEST_EXPANSION:
        raise DataError(
            f"{where} claims {size:,} bytes in a file of {on_disk:,}; it is not read.",
            f"Columns of up to {LARGEST_COLUMN:,} bytes that are really there can be read.",
        )
    chunk = _chunk(found, dtype)
    if chunk > max(LARGEST_CHUNK, 2 * min(size, largest_in_memory())):  # the last chunk may be half empty
        raise DataError(
            f"{where} packs {size:,} bytes in chunks of {chunk:,}; it is not read.",
            "A chunk is unpacked whole; `h5repack` makes smaller ones.",
        )
    return found


def _chunk(found: h5py.Dataset, dtype: np.dtype) -> int:
    """Bytes of a chunk that has to be unpacked whole; 0 where rows are read as they stand."""
    if found.chunks is None or found.id.get_create_plist().get_nfilters() == 0:
        return 0
    return int(np.prod(found.chunks, dtype=object)) * dtype.itemsize


def read_column(group: h5py.Group, key: str) -> np.ndarray | None:
    """Read a whole numeric dataset, in this machine's byte order; none where there is no such key.

    A column larger than memory takes is mapped from the cache instead; see `cache.filled`.

    Raises:
        DataError: as `column_of`, or it is damaged.
    """
    found = column_of(group, key)
    if found is None:
        return None
    dtype = cast(np.dtype, type_of(found)).newbyteorder("=")
    path = Path(group.file.filename)

    def fill(column: np.ndarray) -> None:
        if found.shape == () or column.size == 0:
            column[()] = found[()]
            return
        rows = len(column) if not isinstance(column, np.memmap) else _rows_together(found)
        for start in range(0, len(column), rows):
            found.read_direct(column, np.s_[start : start + rows], np.s_[start : start + rows])
            trim()

    try:
        return filled(path, (cast(str, found.name) or key).strip("/"), found.shape, dtype, fill)
    except (OSError, RuntimeError) as error:
        raise DataError(f"{path}: '{key}' is damaged ({brief(error)}).", "Copy or download the file again.") from error


def _rows_together(found: h5py.Dataset) -> int:
    """Rows read at a time: whole chunks, so that none is unpacked twice."""
    chunk = found.chunks[0] if found.chunks else 1
    return max(1, BLOCK // chunk) * chunk


def type_of(found: h5py.Dataset) -> np.dtype | None:
    """The type of a dataset, none where numpy has no such type: a damaged header can claim a float of 31 bytes."""
    try:
        return found.dtype
    except (TypeError, ValueError):
        return None


def is_words(kind: Any) -> bool:
    """Whether a type, as h5py's lower level has it, is text of variable length: `hdf5_text` says what that means."""
    return isinstance(kind, h5t.TypeStringID) and kind.is_variable_str()


def read_text(group: h5py.Group, key: str) -> str | None:
    """A scalar string dataset as text; none where there is no such key, or it is no string, or too long.

    Raises:
        DataError: it is of variable length, and damaged.
    """
    found = member(group, key)
    if not isinstance(found, h5py.Dataset) or found.shape != () or found.external or found.is_virtual:
        return None
    kind = found.id.get_type()
    if is_words(kind):
        return _texts_in(cast(h5py.Group, found.parent))["members"].get(key.rpartition("/")[2])
    if not isinstance(kind, h5t.TypeStringID) or kind.get_size() > LONGEST:
        return None
    try:
        value = found[()]
    except (TypeError, ValueError):
        return None  # of an encoding that there is not
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else None


def _texts_in(group: h5py.Group | h5py.Dataset) -> Texts:
    return texts_of(Path(group.file.filename), cast(str, group.name) or "/")


def attribute(group: h5py.Group | h5py.Dataset, name: str) -> str | float | None:
    """A scalar attribute as text or a finite number; none where there is no such attribute.

    Raises:
        DataError: it is text of variable length, and damaged.
    """
    if name not in group.attrs:
        return None
    stored = group.attrs.get_id(name)
    kind = stored.get_type()
    if is_words(kind):
        return _texts_in(group)["attributes"].get(name)
    if not isinstance(kind, PLAIN) or stored.get_space().get_simple_extent_npoints() * kind.get_size() > LONGEST:
        return None
    try:
        value = group.attrs[name]
    except (TypeError, ValueError):
        return None  # of a type that numpy has not
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    array = np.asarray(value)
    return float(array) if array.shape == () and array.dtype.kind in "fiub" and np.isfinite(array) else None
