"""How many bytes a batch of an Arrow file unpacks to, added up before pyarrow allocates memory for it.

pyarrow unpacks a batch whole, and zstd makes gigabytes of a few kilobytes. Each packed buffer begins with its size
unpacked, which the decoder believes; where buffers are stands in the headers, in the format of Flatbuffers, of which
tables and vectors of plain structs are needed.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from gipo_cli.errors import DataError

ALWAYS_TAKEN = 1 << 26  # bytes of a batch
LARGEST_EXPANSION = 1100  # bytes out of one: what gzip does at most, as `data.hdf5` has it
DICTIONARIES, BATCHES = 2, 3  # fields of the footer
BLOCK, BUFFER = "<qi4xq", "<qq"  # offset, length of the header, length of the body; offset, length
HEADER_TYPE, HEADER = 1, 2  # fields of a message
OF_DICTIONARY = 2  # a type of header, whose batch is its field 1
BUFFERS, COMPRESSION = 2, 3  # fields of a batch
PACKED_BEFORE_1_0 = b"ARROW:experimental_compression"  # how Arrow 0.17 said it


@dataclass(frozen=True)
class _Table:
    """A table of Flatbuffers: fields go by their numbers."""

    raw: bytes
    at: int

    def number(self, layout: str, at: int) -> int:
        return struct.unpack_from(layout, self.raw, at)[0]

    def place(self, field: int) -> int | None:
        """Where a field is; none where the table has not got it."""
        index = self.at - self.number("<i", self.at)
        entry = 4 + 2 * field
        offset = self.number("<H", index + entry) if entry < self.number("<H", index) else 0
        return self.at + offset if offset else None

    def table(self, field: int) -> "_Table":
        place = self.place(field)
        if place is None:
            raise ValueError(f"a header lacks field {field}")
        return _Table(self.raw, place + self.number("<I", place))

    def structs(self, field: int, layout: str) -> Iterator[tuple[Any, ...]]:
        place = self.place(field)
        if place is None:
            return
        start = place + self.number("<I", place)
        size, count = struct.calcsize(layout), self.number("<I", start)
        yield from struct.iter_unpack(layout, self.raw[start + 4 : start + 4 + size * count])


def _root(raw: bytes, at: int = 0) -> _Table:
    return _Table(raw, at + struct.unpack_from("<I", raw, at)[0])


def require_plausible(path: Path) -> None:
    """Refuse an Arrow file with a batch that unpacks to more than the file can hold.

    Raises:
        DataError: it has one, or its headers are damaged.
    """
    try:
        found = path.stat()
        _checked(path, found.st_size, found.st_mtime_ns)
    except (ValueError, IndexError, OverflowError, OSError, struct.error) as error:
        raise DataError(f"{path} is a damaged arrow file ({error}).", "Copy or download it again.") from error


@lru_cache(maxsize=4096)  # a file is opened once a column
def _checked(path: Path, size: int, _time: int) -> None:
    most = max(ALWAYS_TAKEN, size * LARGEST_EXPANSION)
    with path.open("rb") as file:
        footer = _footer(file, size)
        for field in (DICTIONARIES, BATCHES):
            for offset, length, _ in footer.structs(field, BLOCK):
                unpacked = sum(_unpacked(file, offset, length))
                if unpacked > most:
                    raise DataError(f"{path}: a batch claims {unpacked:,} bytes in a file of {size:,}; it is not read.")


def _footer(file: BinaryIO, size: int) -> _Table:
    file.seek(max(0, size - 10))
    length = struct.unpack("<i6s", file.read(10))[0]
    if not 0 < length <= size - 10:
        raise ValueError("it does not end as Arrow does")
    file.seek(size - 10 - length)
    return _root(file.read(length))


def _unpacked(file: BinaryIO, offset: int, length: int) -> Iterator[int]:
    """The bytes that each packed buffer of a batch unpacks to; nothing of a batch that is not packed."""
    file.seek(offset)
    raw = file.read(length)
    message = _root(raw, 8 if raw[:4] == b"\xff\xff\xff\xff" else 4)
    batch, kind = message.table(HEADER), message.place(HEADER_TYPE)
    if kind is not None and raw[kind] == OF_DICTIONARY:
        batch = batch.table(1)
    if batch.place(COMPRESSION) is None and PACKED_BEFORE_1_0 not in raw:
        return
    for start, packed in batch.structs(BUFFERS, BUFFER):
        if packed >= 8:
            file.seek(offset + length + start)
            yield max(struct.unpack("<q", file.read(8))[0], packed)  # -1: this buffer is not packed
