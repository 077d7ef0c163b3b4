"""Write HDF5 so that a disk that fills up is an error: the library itself crashes the process.

HDF5 2.0 reports a failed write, and dies of a segmentation fault when the file is closed after it. So the library
never sees one: it writes into memory, or into a `_Sink`, which remembers the first failure and lets the rest go
nowhere. The two lay a file out differently; what is small is written in memory, as a plain file is.
"""

import io
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import h5py
import numpy as np

from gipo_cli.data.trajectories import BLOCK


class _Sink(io.RawIOBase):
    """A file whose writes never fail where HDF5 could see it."""

    def __init__(self, handle: int) -> None:
        self.handle, self.position, self.failure = handle, 0, None

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self.position, os.SEEK_END: os.fstat(self.handle).st_size}[whence]
        self.position = start + offset
        return self.position

    def tell(self) -> int:
        return self.position

    def readinto(self, buffer: memoryview) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        found = os.pread(self.handle, len(buffer), self.position)
        # What was lost reads as zeros: a failed read would be no better than a failed write.
        buffer[:] = found.ljust(len(buffer), b"\0")
        self.position += len(buffer)
        return len(buffer)

    def write(self, data: memoryview) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        done = 0
        try:
            while self.failure is None and done < len(data):
                done += os.pwrite(self.handle, data[done:], self.position + done)
        except OSError as error:
            self.failure = error
        self.position += len(data)
        return len(data)

    def close(self) -> None:
        if not self.closed:
            os.close(self.handle)
        super().close()

    def truncate(self, size: int | None = None) -> int:
        size = self.position if size is None else size
        try:
            if self.failure is None:
                os.ftruncate(self.handle, size)
        except OSError as error:
            self.failure = error
        return size


def describe(place: h5py.Group, name: str, value: str | int | float) -> None:
    """Store an attribute; words in a fixed length, which are read in place (`data.hdf5_text` says what others cost)."""
    raw = value.encode() if isinstance(value, str) else b""
    place.attrs[name] = np.bytes_(raw) if raw else value


class Hdf5Writer:
    """A file that is being written, whose columns are stored a block of rows at a time."""

    def __init__(self, file: h5py.File, sink: _Sink | None) -> None:
        self.file, self._sink = file, sink

    def store(self, group: h5py.Group, key: str, column: np.ndarray, *, packed: bool) -> None:
        """Store a column: packed as tightly as gzip can, or growable as Minari has it.

        Raises:
            OSError: the disk is full.
        """
        packing = {"compression": "gzip", "compression_opts": 9, "shuffle": True, "track_times": False}
        growing = {"chunks": True, "maxshape": (None, *column.shape[1:])}
        stored = group.create_dataset(key, column.shape, column.dtype, **(packing if packed else growing))
        chunk = stored.chunks[0] if stored.chunks else 1
        rows = max(1, BLOCK // chunk) * chunk  # whole chunks, so that none is packed twice
        for start in range(0, len(column), rows):
            stored[start : start + rows] = column[start : start + rows]
            self.check()

    def check(self) -> None:
        """Raise the first failure of the disk, if there was one."""
        if self._sink is not None and self._sink.failure is not None:
            raise self._sink.failure


@contextmanager
def new_hdf5(path: Path, *, in_memory: bool) -> Iterator[Hdf5Writer]:
    """A new HDF5 file, in which things keep the order in which they are made.

    Args:
        path: must not exist.
        in_memory: make the whole file in memory first.

    Raises:
        OSError: the file cannot be made, or the disk is full.
    """
    if in_memory:
        with h5py.File(str(path), "w", driver="core", backing_store=False, track_order=True) as file:
            yield Hdf5Writer(file, None)
            file.flush()
            content = file.id.get_file_image()
        path.write_bytes(content)
        return
    with closing(_Sink(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666))) as sink:
        with h5py.File(sink, "w", track_order=True) as file:
            writer = Hdf5Writer(file, sink)
            yield writer
        writer.check()  # what is left in the library's memory is written at the end
