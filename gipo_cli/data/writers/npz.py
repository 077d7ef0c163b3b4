"""Write NumPy's .npz: one array a column, and a JSON text that says what they are."""

import zipfile
from pathlib import Path

import numpy as np

from gipo_cli.data.trajectories import BLOCK, Trajectories
from gipo_cli.data.writers import Origin, arrays_of, columns_of, description, native, new_place

EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest a zip can say: the same log gives the same bytes on any day


def write(log: Trajectories, path: Path, origin: Origin | None = None) -> None:
    """Write a log to a new .npz that `numpy.load` opens without pickle; see `data.writers` for the contract.

    Members are named as the fields of `Trajectories`, those of the behaviour policy weights/NAME; `gipo` holds the
    JSON text as bytes. Nothing is compressed, as in `numpy.savez`: logged numbers hardly shrink.

    Raises:
        SettingError: the path exists or cannot be written.
    """
    text = np.frombuffer(description(log, origin).encode(), np.uint8)
    arrays = {**columns_of(log), "episode_starts": log.episode_starts, **arrays_of(log), "gipo": text}
    with new_place(path) as aside, zipfile.ZipFile(aside, "w", zipfile.ZIP_STORED) as packed:
        for name, array in arrays.items():
            _store(packed, name, array)


def _store(packed: zipfile.ZipFile, name: str, array: np.ndarray) -> None:
    kind = array.dtype.newbyteorder("=")
    header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": array.shape}
    with packed.open(zipfile.ZipInfo(f"{name}.npy", EPOCH), "w", force_zip64=True) as member:
        np.lib.format.write_array_header_1_0(member, header)
        if array.ndim == 0:
            member.write(native(array).tobytes())
            return
        for start in range(0, len(array), BLOCK):
            member.write(native(array[start : start + BLOCK]).tobytes())
