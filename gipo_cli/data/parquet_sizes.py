"""How many values a Parquet file really holds, counted before pyarrow allocates memory for them.

A list column of one row may unpack to any number of values: run-length encoding and dictionaries make 2^28 of them fit
into a kilobyte, and pyarrow reads whole rows. What the footer says of that can be a lie, and pyarrow 26 aborts the
process when it is asked for damaged parts of it. So the footer and the pages' headers, which the decoder believes, are
read here: Thrift's compact protocol, of which nothing but numbers, lists and nested fields is needed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from gipo_cli.errors import DataError

ALWAYS_TAKEN = 1 << 24  # values of a column in a row group, or four times as many bytes of a page
LARGEST_EXPANSION = 1100  # bytes out of one: what gzip does at most, as `data.hdf5` has it
LARGEST_HEADER = 1 << 16  # bytes of a page's header; its statistics may hold the longest text of the page
DEEPEST = 32
REPEATED = 2
I16, I32, I64, DOUBLE, BINARY, LIST, SET, STRUCT = 4, 5, 6, 7, 8, 9, 10, 12
Fields = dict[int, Any]


@dataclass
class _Reader:
    """Reads Thrift's compact protocol; an IndexError where the bytes end, a ValueError where they are no Thrift."""

    raw: bytes
    at: int = 0

    def byte(self) -> int:
        self.at += 1
        return self.raw[self.at - 1]

    def varint(self) -> int:
        value, shift = 0, 0
        while shift < 70:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
        raise ValueError("a number of more than 64 bits")

    def zigzag(self) -> int:
        value = self.varint()
        return (value >> 1) ^ -(value & 1)

    def skip(self, count: int) -> None:
        self.at += count
        if self.at > len(self.raw):
            raise IndexError("it ends too early")

    def value(self, kind: int, depth: int) -> Any:
        if kind in (1, 2):
            return kind == 1
        if kind == 3:
            return self.byte()
        if kind in (I16, I32, I64):
            return self.zigzag()
        if kind == DOUBLE:
            return self.skip(8)
        if kind == BINARY:
            return self.skip(self.varint())
        if kind in (LIST, SET):
            head = self.byte()
            count = head >> 4 if head >> 4 < 15 else self.varint()
            if count > len(self.raw) - self.at:
                raise ValueError("a list longer than the file")
            of = head & 15
            return [self.byte() == 1 if of in (1, 2) else self.value(of, depth + 1) for _ in range(count)]
        if kind == STRUCT:
            return self.struct(depth + 1)
        raise ValueError(f"a field of type {kind}")

    def struct(self, depth: int = 0) -> Fields:
        """The fields of a struct by their numbers."""
        if depth > DEEPEST:
            raise ValueError("nested too deeply")
        found: Fields = {}
        number = 0
        while (head := self.byte()) != 0:
            number = number + (head >> 4) if head >> 4 else self.zigzag()
            found[number] = self.value(head & 15, depth)
        return found


def require_plausible(path: Path) -> None:
    """Refuse a Parquet file whose lists unpack to more than it can hold.

    Raises:
        DataError: they do, or its footer or a page's header is damaged.
    """
    try:
        found = path.stat()
        _checked(path, found.st_size, found.st_mtime_ns)
    except (ValueError, IndexError, TypeError, AttributeError, KeyError, OSError) as error:
        raise DataError(f"{path} is a damaged parquet file ({error}).", "Copy or download it again.") from error


@lru_cache(maxsize=4096)  # a file is opened once a column
def _checked(path: Path, size: int, _time: int) -> None:
    with path.open("rb") as file:
        footer = _footer(file, size)
        repeated = list(_repeated(footer.get(2, [])))
        for group in footer.get(4, []):
            for is_list, chunk in zip(repeated, group.get(1, []), strict=True):
                if is_list:
                    _require(path, file, chunk.get(3) or {}, size)


def _footer(file: BinaryIO, size: int) -> Fields:
    file.seek(max(0, size - 8))
    tail = file.read(8)
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != b"PAR1" or length > size - 12:
        raise ValueError("it does not end as Parquet does")
    file.seek(size - 8 - length)
    return _Reader(file.read(length)).struct()


def _repeated(schema: list[Fields]) -> Iterator[bool]:
    """For each leaf of the schema, in the order of columns, whether a row may have several values of it."""
    elements = iter(schema)

    def walk(above: bool, depth: int) -> Iterator[bool]:
        element = next(elements, None)
        if element is None or depth > DEEPEST:
            raise ValueError("its schema is cut short, or nested too deeply")
        here = above or element.get(3) == REPEATED
        children = element.get(5) or 0
        if not children:
            yield here
        for _ in range(children):
            yield from walk(here, depth + 1)

    root: Fields = next(elements, {})
    for _ in range(root.get(5) or 0):
        yield from walk(False, 0)


def _require(path: Path, file: BinaryIO, column: Fields, size: int) -> None:
    """Add up what the pages of a column chunk say of themselves."""
    packed, expected = column.get(7, 0), column.get(5, 0)
    starts = [column[key] for key in (9, 11) if column.get(key, 0) > 0]
    at, end, values = min(starts), min(starts) + packed, 0
    if not 0 < at <= end <= size:
        raise ValueError("a column lies outside of the file")
    most = max(ALWAYS_TAKEN, packed * LARGEST_EXPANSION)
    while at < end and values < max(expected, 1):
        file.seek(at)
        reader = _Reader(file.read(LARGEST_HEADER))
        page = reader.struct()
        data = page.get(5) or page.get(8)
        values += data[1] if data else 0
        at += reader.at + page[3]
        if page[3] < 0 or (data and data[1] < 0) or at > size:
            raise ValueError("a page lies outside of the file")
        if values > most or page[2] > max(4 * ALWAYS_TAKEN, page[3] * LARGEST_EXPANSION):
            raise DataError(
                f"{path}: a column claims {max(values, expected):,} values in {packed:,} bytes; it is not read.",
                "Lists that repeat a value so often are no data.",
            )
