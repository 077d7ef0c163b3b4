"""NumPy's .npz from strangers: sizes compared before anything is inflated, no pickled objects, a member at a time."""

import sys
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gipo_cli.data.cache import filled, scratch
from gipo_cli.data.resident import blocks, trim
from gipo_cli.errors import DataError, brief

MOST_MEMBERS = 10_000
MOST_INFLATED = 1040  # deflate makes at most 1032 bytes of one
PIECE = 1 << 20


@dataclass(frozen=True)
class Member:
    """An array of the file as its header says, none of it read yet."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool
    offset: int  # of the numbers, after the header

    @property
    def nbytes(self) -> int:
        """Bytes of its numbers."""
        return int(np.prod(self.shape, dtype=object)) * self.dtype.itemsize


@contextmanager
def _damage(place: Path) -> Iterator[None]:
    try:
        yield
    except (
        zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, RuntimeError, NotImplementedError, OverflowError,
        MemoryError, SyntaxError, TypeError, KeyError, tokenize.TokenError, RecursionError,
    ) as error:  # fmt: skip
        raise DataError(f"{place} cannot be read: {brief(error)}") from error


def members(place: Path) -> dict[str, Member]:
    """The arrays of a file by name, from the directory of the zip and the headers alone.

    Raises:
        DataError: damaged; a member stands there twice, holds Python objects, or claims a size that it cannot have.
    """
    found: dict[str, Member] = {}
    with _damage(place), zipfile.ZipFile(place) as file:
        entries = file.infolist()
        if len(entries) > MOST_MEMBERS:
            raise DataError(f"{place} has {len(entries):,} members; up to {MOST_MEMBERS:,} are taken.")
        size = place.stat().st_size
        for entry in entries:
            name = entry.filename.removesuffix(".npy")
            if name == entry.filename:
                continue  # no array, and never looked at
            if name in found:
                raise DataError(f"{place} has two members '{name}'.")
            if entry.compress_size > size or entry.file_size > entry.compress_size * MOST_INFLATED + 64:
                raise DataError(
                    f"{place}: '{name}' claims {entry.file_size:,} bytes out of {entry.compress_size:,}; it cannot be."
                )
            with file.open(entry) as opened:
                found[name] = _header(place, name, opened, entry.file_size)
    return found


def _header(place: Path, name: str, opened: Any, size: int) -> Member:
    version = np.lib.format.read_magic(opened)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a header was written by Python 2, or has an escape Python does not know
        if version == (1, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(opened)
        elif version == (2, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_2_0(opened)
        else:
            raise DataError(f"{place}: '{name}' is of .npy version {version}; versions 1 and 2 are read.")
    if dtype.hasobject:
        raise DataError(f"{place}: '{name}' holds pickled Python objects; unpickling runs code that the file brings.")
    if dtype.kind not in "biufSU" or dtype.itemsize == 0:
        raise DataError(f"{place}: '{name}' holds {dtype}; expected numbers.")
    if any(n < 0 for n in shape) or len(shape) > 32:
        raise DataError(f"{place}: '{name}' has shape {list(shape)[:40]}; it cannot be.")
    offset = opened.tell()
    member = Member(name, shape, dtype, fortran, offset)
    if offset + member.nbytes != size:
        raise DataError(
            f"{place}: '{name}' has {size - offset:,} bytes, and its shape {list(shape)} of {dtype} needs "
            f"{member.nbytes:,}."
        )
    return member


def array(place: Path, member: Member) -> np.ndarray:
    """The numbers of a member, in this machine's byte order; mapped from the cache where they do not fit in memory.

    Raises:
        DataError: damaged (each member has a checksum), or no room for it.
    """
    with _damage(place):
        return filled(place, member.name, member.shape, member.dtype.newbyteorder("="), partial(fill, place, member))


def fill(place: Path, member: Member, column: np.ndarray) -> None:
    """Read the numbers of a member into a column of its shape, a piece at a time.

    Raises:
        DataError: damaged (each member has a checksum).
    """
    # In the order of the file: columns first where it says so.
    flat = scratch((column.size,), column.dtype) if member.fortran else column.reshape(-1)
    with _damage(place), zipfile.ZipFile(place) as file, file.open(member.name + ".npy") as opened:
        opened.read(member.offset)
        count, done = PIECE // member.dtype.itemsize or 1, 0
        while done < len(flat):
            wanted = min(count, len(flat) - done)
            piece = opened.read(wanted * member.dtype.itemsize)
            if len(piece) != wanted * member.dtype.itemsize:
                raise EOFError(f"'{member.name}' ends after {done:,} of {len(flat):,} numbers.")
            flat[done : done + wanted] = np.frombuffer(piece, member.dtype)
            done += wanted
            trim()
        if opened.read(1):  # the checksum is looked at where the member ends
            raise EOFError(f"'{member.name}' is longer than its shape.")
    if member.fortran:
        for start, block in blocks(flat.reshape(member.shape[::-1]).T):
            column[start : start + len(block)] = block


def words(place: Path, member: Member) -> np.ndarray:
    """A member of words.

    Raises:
        DataError: as `array`, or what stands for a letter is no letter.
    """
    found = np.ascontiguousarray(array(place, member))
    if found.dtype.kind == "U" and found.size and found.reshape(-1).view(np.uint32).max() > sys.maxunicode:
        raise DataError(f"{place}: '{member.name}' holds numbers that stand for no letter.")
    return found
