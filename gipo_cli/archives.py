"""Arrays packed into a .npz a block of rows at a time, so that neither they nor the archive have to be in memory."""

import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from gipo_cli.data.resident import blocks

PIECE = 2**24  # bytes of an archive that are read at a time; a smaller one stays in memory


@contextmanager
def packed(arrays: Mapping[str, np.ndarray], place: Path) -> Iterator[IO[bytes]]:
    """An archive of arrays, to be read from its beginning; the same arrays give the same bytes.

    Args:
        arrays: by name.
        place: the directory in which a large one lies meanwhile, without a name.

    Raises:
        ValueError: an array holds objects.
        OSError: the archive is large, and the directory has no room for it.
    """
    with tempfile.SpooledTemporaryFile(PIECE, dir=str(place)) as content:
        with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, array in arrays.items():
                stamp = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
                stamp.compress_type = zipfile.ZIP_DEFLATED
                stamp.file_size = array.nbytes  # beyond 2 GiB the archive has to know beforehand
                with archive.open(stamp, "w") as member:
                    _write_npy(member, array)
        content.seek(0)
        yield content


def _write_npy(file: IO[bytes], array: np.ndarray) -> None:
    """As numpy.save, of arrays that hold no objects.

    Raises:
        ValueError: it holds some, which only a pickle could.
    """
    if array.dtype.hasobject:
        raise ValueError("objects cannot be written with allow_pickle=False")
    shaped = {"descr": np.lib.format.dtype_to_descr(array.dtype), "fortran_order": False, "shape": array.shape}
    np.lib.format.write_array_header_1_0(file, shaped)
    for _, block in blocks(array) if array.ndim else [(0, array)]:
        file.write(np.ascontiguousarray(block).data)
