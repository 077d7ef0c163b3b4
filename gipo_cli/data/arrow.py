"""Tables of Parquet, Arrow and CSV files, column by column; whatever is wrong with one is a DataError.

No column that nobody asked for is decoded, and none is in memory twice: a batch of rows at a time goes into a numpy
array, which `data.cache` maps from the disk where it is larger than memory.
"""

from collections.abc import Callable, Container, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

from gipo_cli.data import json_text
from gipo_cli.data.arrow_files import ARROW, DAMAGE, PARQUET, is_list, is_number, open_arrow
from gipo_cli.data.cache import filled, largest_in_memory
from gipo_cli.data.places import files_of
from gipo_cli.data.trajectories import BLOCK
from gipo_cli.errors import DataError, brief

CSV = (".csv", ".tsv")
MOST_VALUES = 1 << 24  # decoded together; a damaged header can claim any number for one row


class Batches(Protocol):
    """Reads columns from their beginning, about `count` rows at a time where the format leaves the choice."""

    def __call__(self, names: Sequence[str], count: int = BLOCK, /) -> Iterator[pa.RecordBatch]:
        """The batches in order."""
        ...


@dataclass(frozen=True)
class Table:
    """Columns of one or more files with the same columns; N rows."""

    place: Path
    fields: dict[str, pa.Field]
    rows: int  # of a CSV, known once it was `prepared`
    batches: Batches
    metadata: dict[bytes, bytes] = field(default_factory=dict)
    wholes: frozenset[str] = frozenset()  # of a CSV: columns whose first numbers are written without a point
    parts: tuple["Table", ...] = ()  # one a file, where there are several


@contextmanager
def damage(place: Path) -> Iterator[None]:
    """Turn what pyarrow and the disk raise into one sentence."""
    try:
        yield
    except DAMAGE as error:
        raise DataError(f"{place} cannot be read: {brief(error)}") from error


def open_table(place: Path, suffixes: Sequence[str] = (*PARQUET, *ARROW, *CSV), as_words: Container[str] = ()) -> Table:
    """Open a file, or all files of a directory that end as its first one does; nothing but names and types is read.

    Args:
        place: the file or directory.
        suffixes: of the files to take from a directory.
        as_words: columns of a CSV that are words though they look like numbers, as names of episodes do.

    Raises:
        DataError: damaged, of no such format, outside of the directory, two columns of one name, or files that differ.
    """
    files = files_of(place, suffixes)
    kinds = {file.suffix.lower() for file in files}
    if len(kinds) != 1:
        raise DataError(f"{place} holds no table, or tables of several formats; expected files of one.")
    opening = _opening(files[0])
    tables = []
    for file in files:
        with damage(file):
            tables.append(_csv(file, as_words) if opening is _csv else opening(file))
    first = tables[0]
    for file, table in zip(files[1:], tables[1:], strict=True):
        if {n: f.type for n, f in table.fields.items()} != {n: f.type for n, f in first.fields.items()}:
            raise DataError(f"{file} has other columns, or of other types, than {files[0].name}.")

    def batches(names: Sequence[str], count: int = BLOCK) -> Iterator[pa.RecordBatch]:
        for table in tables:
            yield from table.batches(names, count)

    wholes = frozenset.intersection(*(table.wholes for table in tables))
    rows, parts = sum(table.rows for table in tables), tuple(tables if len(tables) > 1 else ())
    return replace(first, place=place, rows=rows, batches=batches, wholes=wholes, parts=parts)


def names_of(place: Path, suffixes: Sequence[str]) -> list[str]:
    """Names of the columns of a file, or of the first file of a directory: enough to tell one format from another.

    Raises:
        DataError: as `open_table`.
    """
    files = files_of(place, suffixes)
    return list(open_table(files[0], suffixes).fields) if files else []


def _opening(file: Path) -> Callable[[Path], Table]:
    with file.open("rb") as opened:
        first = opened.read(4096)
    magic = first[:6]
    if magic[:4] == b"PAR1" or magic == b"ARROW1":
        return _columnar
    if file.suffix.lower() in (*PARQUET, *ARROW):
        raise DataError(f"{file} is not a {file.suffix.lstrip('.')} file by its first bytes.")
    if b"\0" in first:
        raise DataError(f"{file} is no table by its first bytes; expected NPZ, Parquet, Arrow or CSV.")
    return _csv


def _named(path: Path, schema: pa.Schema) -> dict[str, pa.Field]:
    names = schema.names
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{path} has two columns '{twice}'.")
    return {found.name: found for found in schema}


def _columnar(path: Path) -> Table:
    """A Parquet or an Arrow file, whichever it is."""

    def batches(names: Sequence[str], count: int = BLOCK) -> Iterator[pa.RecordBatch]:
        with open_arrow(path) as file:
            yield from file.batches(names, count)

    with open_arrow(path) as file:
        schema = file.schema
        return Table(path, _named(path, schema), file.rows, batches, dict(schema.metadata or {}))


def _csv(path: Path, as_words: Container[str] = ()) -> Table:
    parsing = pacsv.ParseOptions(delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
    reading = pacsv.ReadOptions(use_threads=False)
    with pacsv.open_csv(path, read_options=reading, parse_options=parsing) as opened:
        schema = opened.schema
    fields = {
        name: pa.field(name, pa.string() if name in as_words else _csv_type(found.type))
        for name, found in _named(path, schema).items()
    }

    def batches(names: Sequence[str], _count: int = BLOCK) -> Iterator[pa.RecordBatch]:
        types = {name: fields[name].type for name in names}
        converting = pacsv.ConvertOptions(include_columns=list(names), column_types=types)
        with pacsv.open_csv(path, reading, parsing, converting) as opened:
            yield from opened

    wholes = frozenset(name for name, found in _named(path, schema).items() if pa.types.is_integer(found.type))
    return Table(path, fields, -1, batches, wholes=wholes)


def _csv_type(guessed: pa.DataType) -> pa.DataType:
    """A column of a CSV by its first block: a column of 0 and 1 may go on with 0.5, so numbers are read as floats."""
    if pa.types.is_integer(guessed) or pa.types.is_floating(guessed) or pa.types.is_null(guessed):
        return pa.float64()
    return guessed if pa.types.is_boolean(guessed) else pa.string()


def prepared(table: Table, names: Sequence[str]) -> Table:
    """A table whose rows are counted; of a CSV that fits in memory, the columns `names` read, all at once."""
    if table.rows >= 0:
        return table
    with damage(table.place):
        size = sum(file.stat().st_size for file in files_of(table.place, CSV))
        if size > largest_in_memory():
            return replace(table, rows=sum(batch.num_rows for batch in table.batches(list(names)[:1])))
        held = list(table.batches(list(names)))

    def batches(names: Sequence[str], _count: int = BLOCK) -> Iterator[pa.RecordBatch]:
        return (batch.select(list(names)) for batch in held)

    return replace(table, rows=sum(batch.num_rows for batch in held), batches=batches)


def numbers(table: Table, names: str | Sequence[str]) -> np.ndarray:
    """A column of numbers [N], one of lists [N, A], or several beside one another [N, A].

    Raises:
        DataError: text, a gap, lists of unequal lengths, or a file that is damaged or too large for the disk.
    """
    chosen = [names] if isinstance(names, str) else list(names)
    with damage(table.place):
        shapes = [_shape_of(table, name) for name in chosen]
        dtype = np.result_type(*(_dtype_of(table, name) for name in chosen))
        sizes = [int(np.prod(shape, dtype=object)) for shape in shapes]
        if max(sizes) > MOST_VALUES:
            raise DataError(f"{table.place}: a row of '{chosen[0]}' has {max(sizes):,} values; too many to read.")
        alone = isinstance(names, str) or (len(chosen) == 1 and shapes[0] != ())
        shape = (table.rows, *(shapes[0] if alone else (sum(sizes),)))
        ends = np.cumsum([0, *sizes])

        def fill(column: np.ndarray) -> None:
            flat, row = column.reshape(table.rows, -1), 0
            count = max(1, min(BLOCK, MOST_VALUES // max(1, sum(sizes))))
            for batch in table.batches(list(dict.fromkeys(chosen)), count):
                here = slice(row, row + batch.num_rows)
                if here.stop > table.rows:
                    break
                for name, expected, (start, end) in zip(chosen, shapes, pairwise(ends), strict=True):
                    values = _values(table, name, batch.column(name), expected, row)
                    flat[here, start:end] = values.reshape(batch.num_rows, -1)
                row = here.stop
            if row != table.rows:
                raise DataError(f"{table.place}: '{chosen[0]}' has {row} rows, the table {table.rows}.")

        return filled(table.place, chosen[0] if len(chosen) == 1 else repr(chosen), shape, dtype, fill)


def _storage(kind: pa.DataType) -> pa.DataType:
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else kind


def _leaf(kind: pa.DataType) -> pa.DataType:
    kind = _storage(kind)
    while is_list(kind):
        kind = _storage(kind.value_type)
    return kind


def is_text(kind: pa.DataType) -> bool:
    """Whether a column is of words or bytes, plain or by a dictionary."""
    leaf = _leaf(kind)
    leaf = leaf.value_type if pa.types.is_dictionary(leaf) else leaf
    checks = (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    return any(check(leaf) for check in (*checks, pa.types.is_fixed_size_binary))


def _dtype_of(table: Table, name: str) -> np.dtype:
    leaf = _leaf(table.fields[name].type)
    if not is_number(leaf):
        raise DataError(f"{table.place}: '{name}' holds {leaf}; expected numbers.")
    return np.dtype(leaf.to_pandas_dtype())


def _shape_of(table: Table, name: str) -> tuple[int, ...]:
    """The shape of one row of a column: () where it is a number."""
    found = table.fields[name]
    told = (found.metadata or {}).get(b"ARROW:extension:metadata")  # of a tensor type that pyarrow has not registered
    if told and is_list(found.type):
        shape = json_text.parse(told, f"{table.place}: the shape of '{name}'")
        if isinstance(shape, list) and all(isinstance(n, int) and 0 < n <= MOST_VALUES for n in shape):
            return tuple(shape)
    if isinstance(found.type, pa.FixedShapeTensorType):
        return tuple(found.type.shape)
    shape, kind, row = [], _storage(found.type), None
    while is_list(kind):
        if pa.types.is_fixed_size_list(kind):
            shape.append(kind.list_size)
        else:
            row = _first_row(table, name) if row is None else row
            shape.append(_length_at(row, len(shape)))
        kind = _storage(kind.value_type)
    return tuple(shape)


def _first_row(table: Table, name: str) -> Any:
    for batch in table.batches([name], 1):  # how long its rows are is not known yet
        if batch.num_rows:
            column = batch.column(name)
            return (column.storage if isinstance(column, pa.ExtensionArray) else column)[0]
    return None


def _length_at(row: Any, depth: int) -> int:
    values = None if row is None else row.values
    for _ in range(depth):
        values = values[0].values if values is not None and len(values) else None
    return 0 if values is None else len(values)


def _values(table: Table, name: str, column: Any, shape: tuple[int, ...], row: int) -> np.ndarray:
    """The numbers of a batch of a column, flat; `row` is where it begins."""
    size = int(np.prod(shape, dtype=object))
    within, left = 1, size
    while True:
        column = column.storage if isinstance(column, pa.ExtensionArray) else column
        if column.null_count:
            gap = int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
            raise DataError(
                f"{table.place}: '{name}' has a gap in row {row + gap // within}; expected {_words(shape)}."
            )
        if not is_list(column.type):
            return column.to_numpy(zero_copy_only=False)
        if pa.types.is_fixed_size_list(column.type):
            length = column.type.list_size
        else:
            lengths = np.diff(column.offsets.to_numpy())
            # A tensor of several axes is stored as one list; lists of lists have one length at each depth.
            innermost = not is_list(_storage(column.type.value_type))
            length = left if innermost or not len(lengths) else int(lengths[0])
            if (lengths != length).any():
                odd = int((lengths != length).argmax())
                raise DataError(
                    f"{table.place}: '{name}' has {lengths[odd]} values in row {row + odd // within}; "
                    f"expected {_words(shape)}."
                )
        column = column.flatten()
        within *= max(length, 1)
        left = left // max(length, 1)


def _words(shape: tuple[int, ...]) -> str:
    return "a number" if shape == () else f"values of shape {list(shape)}"


def words(table: Table, name: str, most: int | None = None) -> tuple[np.ndarray, list[str]]:
    """A column of words as numbers [N] of their place in sorted order, and the words in that order.

    Raises:
        DataError: a gap, more than `most` different words, or a damaged file.
    """
    known: dict[Any, int] = {}
    codes, row = np.empty(table.rows, np.int64), 0
    with damage(table.place):
        for batch in table.batches([name]):
            column = batch.column(name)
            if column.null_count:
                gap = row + int(np.argmax(column.is_null().to_numpy(zero_copy_only=False)))
                raise DataError(f"{table.place}: '{name}' has a gap in row {gap}; expected a word in every row.")
            if not pa.types.is_dictionary(column.type):
                column = column.dictionary_encode()
            seen = [known.setdefault(value, len(known)) for value in column.dictionary.to_pylist()]
            if most is not None and len(known) > most:
                raise DataError(f"{table.place}: '{name}' has more than {most:,} different words.")
            indices = column.indices.to_numpy(zero_copy_only=False)
            codes[row : row + len(indices)] = np.asarray(seen, np.int64)[indices]
            row += len(indices)
    if row != table.rows:
        raise DataError(f"{table.place}: '{name}' has {row} rows, the table {table.rows}.")
    ordered = sorted(known, key=str)
    place_of = np.empty(len(known), np.int64)
    place_of[[known[value] for value in ordered]] = np.arange(len(known))
    return place_of[codes], [str(value) for value in ordered]
