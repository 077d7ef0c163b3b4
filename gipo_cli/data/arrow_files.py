"""The one way into Arrow and Parquet files, which are strangers': columns of them in blocks, and nothing else.

No extension type is registered, nothing is unpickled, no column that nobody asked for is decoded, and a block of rows
is unpacked at a time, checked to the last offset, so that a file that claims more than it holds cannot exhaust the
machine before it is found out. `blocks` makes arrays of plain numbers, and of lists of them of one length, by paths
that go into structs; `data.arrow` makes whole tables of the batches.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyarrow.fs import LocalFileSystem

from gipo_cli.data import arrow_sizes, parquet_sizes
from gipo_cli.data.trajectories import BLOCK
from gipo_cli.errors import DataError, brief

PARQUET, ARROW = (".parquet", ".pq"), (".arrow", ".feather", ".ipc")
SUFFIXES = (".parquet", ".arrow")
MOST_IN_FOOTER = 2**20  # members of a list in Parquet's footer
MOST_ROWS = 2**40
DAMAGE = (pa.ArrowException, OSError, ValueError, TypeError, MemoryError, OverflowError, LookupError, EOFError)


class ArrowFile:
    """One open file: how many rows it has, of which types, and its columns in blocks."""

    def __init__(self, path: Path, opened: Any, source: Any = None) -> None:
        self.path, self._opened, self._source = path, opened, source
        self.schema: pa.Schema = opened.schema if source is not None else opened.schema_arrow
        self.names: list[str] = _decoded(self.schema)

    @property
    def rows(self) -> int:
        """How many rows it says it has.

        Raises:
            DataError: it is damaged, or says what cannot be.
        """
        try:
            if self._source is None:
                # Nothing is asked of a column's own metadata: pyarrow 26 aborts the process where that is damaged.
                rows = self._opened.metadata.num_rows
            else:
                rows = ds.IpcFileFormat().make_fragment(str(self.path), LocalFileSystem()).count_rows()
        except DAMAGE as error:
            raise _damaged(self.path, error) from error
        if not 0 <= rows <= MOST_ROWS:
            raise DataError(f"{self.path} claims {rows:,} rows; it is not read.")
        return rows

    def type_of(self, key: str) -> pa.DataType | None:
        """The type of a column, `infos/log_prob` for a field of a struct; none where there is none of this name."""
        names = [*_parts(self.schema, key)]
        if self.schema.get_field_index(names[0]) < 0:
            return None
        found = self.schema.field(names[0]).type
        for name in names[1:]:
            if not pa.types.is_struct(found) or found.get_field_index(name) < 0:
                return None
            found = found.field(name).type
        return found

    def fields(self, key: str) -> list[str]:
        """Names of the fields of a struct column; none where it is no struct."""
        found = self.type_of(key)
        return _decoded(found) if found is not None and pa.types.is_struct(found) else []

    def outline(self, key: str) -> tuple[tuple[int, ...], np.dtype] | None:
        """Shape of a row and type of a numeric column, none where there is no such column.

        Raises:
            DataError: it is not of numbers, or damaged.
        """
        found = self.type_of(key)
        if found is None:
            return None
        leaf, shape, known = found, [], True
        while is_list(leaf):
            known &= pa.types.is_fixed_size_list(leaf)
            shape.append(leaf.list_size if pa.types.is_fixed_size_list(leaf) else -1)
            leaf = leaf.value_type
        if not is_number(leaf):
            raise DataError(f"{self.path}: '{key}' has type {_short(found)}; expected numbers.")
        if not known:
            shape = next((block.shape[1:] for block in self.blocks(key)), ())
        return tuple(shape), np.dtype(leaf.to_pandas_dtype())

    def blocks(self, key: str, rows: int = BLOCK) -> Iterator[np.ndarray]:
        """A column's rows in order, up to `rows` at a time.

        Raises:
            DataError: it is damaged, not of numbers, or of lists that differ in length.
        """
        names = [*_parts(self.schema, key)]
        for batch in self.batches([".".join(names)] if self._source is None else names[:1], rows):
            try:
                array = batch.column(batch.schema.get_field_index(names[0]))
                for name in names[1:]:
                    array = array.flatten()[array.type.get_field_index(name)]
            except DAMAGE as error:
                raise _damaged(self.path, error) from error
            except (KeyError, IndexError) as error:
                raise DataError(f"{self.path}: '{key}' cannot be read.") from error
            yield _numbers(array, f"{self.path}: '{key}'")

    def batches(self, names: Sequence[str], rows: int = BLOCK) -> Iterator[pa.RecordBatch]:
        """Some columns in order, up to `rows` rows at a time.

        Raises:
            DataError: they are damaged.
        """
        try:
            for batch in self._decoded_batches(names, rows):
                batch.validate(full=True)  # offsets that lead out of a buffer would be followed
                for start in range(0, batch.num_rows, rows):
                    yield batch.slice(start, rows)
        except DAMAGE as error:
            raise _damaged(self.path, error) from error

    def _decoded_batches(self, names: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        if self._source is None:
            yield from self._opened.iter_batches(rows, columns=list(names), use_threads=False)
            return
        chosen = [self.schema.names.index(name) for name in names]
        options = pa.ipc.IpcReadOptions(included_fields=chosen, use_threads=False)
        opened = pa.ipc.open_file(self._source, options=options)
        yield from (opened.get_batch(index) for index in range(opened.num_record_batches))


@contextmanager
def open_arrow(path: Path) -> Iterator[ArrowFile]:
    """Open a Parquet or Arrow file; one that stands in a directory goes through `places.refuse_leading_out` first.

    Raises:
        DataError: it is missing or damaged.
    """
    if not path.is_file():
        raise DataError(f"there is no file {path}.", "Copy or download the data set again.")
    with ExitStack() as stack:
        try:
            if path.suffix.lower() in PARQUET or _begins_as_parquet(path):
                parquet_sizes.require_plausible(path)
                # gipo's own files keep final observations and weights in the footer, beyond pyarrow's own limit.
                limits: dict[str, Any] = {
                    "thrift_string_size_limit": min(path.stat().st_size + 1, 2**31 - 1),
                    "thrift_container_size_limit": MOST_IN_FOOTER,
                }
                file = ArrowFile(path, stack.enter_context(pq.ParquetFile(path, **limits)))
            else:
                source = stack.enter_context(pa.memory_map(str(path)))
                file = ArrowFile(path, stack.enter_context(pa.ipc.open_file(source)), source)
                arrow_sizes.require_plausible(path)
        except DAMAGE as error:
            raise _damaged(path, error) from error
        yield file


def _begins_as_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def _parts(schema: pa.Schema, key: str) -> Iterator[str]:
    """A key as the name of a column and of fields below it; a name may itself have a slash."""
    if schema.get_field_index(key) >= 0:
        yield key
    else:
        yield from key.split("/")


def _decoded(fields: Any) -> list[str]:
    """Names of fields; those of all below them can be read too, which a damaged file's cannot."""
    names = []
    for index in range(len(fields) if isinstance(fields, pa.Schema) else fields.num_fields):
        field = fields.field(index)
        names.append(field.name)
        if pa.types.is_nested(field.type):
            _decoded(field.type)
    return names


def is_list(kind: pa.DataType) -> bool:
    """Whether a type is of lists that become rows of an array."""
    return pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind)


def is_number(kind: pa.DataType) -> bool:
    """Whether a type is of numbers, or of booleans."""
    return pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)


def _short(kind: pa.DataType) -> str:
    text = str(kind)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _numbers(array: pa.Array, where: str) -> np.ndarray:
    """Rows of numbers as an array; a missing one is nan.

    Raises:
        DataError: it is not of numbers, misses one where there is no nan, or has lists that differ in length.
    """
    if is_list(array.type):
        return _rows_of_lists(array, where)
    if not is_number(array.type):
        raise DataError(f"{where} has type {_short(array.type)}; expected numbers.")
    if array.null_count and not pa.types.is_floating(array.type):
        raise DataError(f"{where} misses a value in {array.null_count} rows; expected a number in each.")
    return array.to_numpy(zero_copy_only=False)  # a null among floats becomes nan


def _rows_of_lists(array: pa.Array, where: str) -> np.ndarray:
    held = len(array) - array.null_count
    if not held:
        raise DataError(f"{where} holds no values.")
    if pa.types.is_fixed_size_list(array.type):
        width = array.type.list_size
    else:
        lengths = np.unique(array.value_lengths().drop_null().to_numpy())
        if len(lengths) != 1:
            raise DataError(f"{where} has rows of {lengths.min()} to {lengths.max()} numbers; expected one length.")
        width = int(lengths[0])
    values = _numbers(array.flatten(), where)  # without the lists that are missing
    rows = values.reshape(held, width, *values.shape[1:])
    if not array.null_count:
        return rows
    if rows.dtype.kind != "f":
        raise DataError(f"{where} misses a value in {array.null_count} rows; expected one in each.")
    whole = np.full((len(array), *rows.shape[1:]), np.nan, rows.dtype)
    whole[np.asarray(array.is_valid())] = rows
    return whole


def _damaged(path: Path, error: BaseException) -> DataError:
    return DataError(f"{path} is a damaged {path.suffix[1:]} file ({brief(error)}).", "Copy or download it again.")
