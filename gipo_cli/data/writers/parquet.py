"""Write Parquet: one row a step, vectors as lists of one length, and what is no row in the schema's metadata."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import save

from gipo_cli.data.trajectories import BLOCK, Trajectories
from gipo_cli.data.writers import Origin, arrays_of, columns_of, description, native, new_place

EPISODE = "episode"  # int64: the number of the episode that a row belongs to


def write(log: Trajectories, path: Path, origin: Origin | None = None) -> None:
    """Write a log to a new Parquet file, a group of rows at a time; see `data.writers` for the contract.

    Observations and actions of several axes are flattened; the JSON text under the schema's key `gipo` keeps their
    shapes. The key `gipo_arrays` holds final observations, bounds and weights as the bytes of a safetensors file.

    Raises:
        SettingError: the path exists or cannot be written.
    """
    columns = columns_of(log)
    schema = pa.schema(
        [pa.field(name, _type(column), nullable=False) for name, column in columns.items()]
        + [pa.field(EPISODE, pa.int64(), nullable=False)],
        {"gipo": description(log, origin), "gipo_arrays": save(arrays_of(log))},
    )
    # Logged numbers seldom repeat; split into streams of bytes they pack better than in a dictionary.
    floats = [
        name if column.ndim == 1 else f"{name}.list.element" for name, column in columns.items() if _splits(column)
    ]
    packing = {"compression": "zstd", "use_dictionary": False, "use_byte_stream_split": floats}
    with new_place(path) as aside, pq.ParquetWriter(aside, schema, **packing) as file:
        for start in range(0, log.transitions, BLOCK):
            rows = slice(start, min(start + BLOCK, log.transitions))
            parts = [_array(column[rows]) for column in columns.values()]
            numbers = np.searchsorted(log.episode_starts, np.arange(rows.start, rows.stop), "right") - 1
            file.write_batch(pa.record_batch([*parts, pa.array(numbers, pa.int64())], schema=schema))


def _splits(column: np.ndarray) -> bool:
    return column.dtype.kind == "f" and column.itemsize in (4, 8)


def _width(column: np.ndarray) -> int:
    return int(np.prod(column.shape[1:]))


def _type(column: np.ndarray) -> pa.DataType:
    number = pa.from_numpy_dtype(column.dtype.newbyteorder("="))
    return number if column.ndim == 1 else pa.list_(pa.field("item", number, nullable=False), _width(column))


def _array(rows: np.ndarray) -> pa.Array:
    flat = pa.array(native(rows).reshape(-1))
    return flat if rows.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, type=_type(rows))
