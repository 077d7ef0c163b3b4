"""A log out of an HDF5 file as gipo writes it, held against h5py reading the same columns and doing nothing else."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py

from gipo_cli.data import catalog
from gipo_cli.data.writers.d4rl import write
from gipo_cli.logs import open_log
from tests.benchmarks import made_up
from tests.benchmarks.comparison import Comparison, Subject
from tests.benchmarks.scale import Scale
from tests.benchmarks.values import samples_of


def comparisons(scale: Scale) -> Iterator[Comparison]:
    """The file is in the page cache after the warm-up: this measures no disk."""
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "made-up.hdf5"
        write(made_up.log(scale.file_rows), file)
        yield Comparison(
            f"loading {scale.file_rows:,} rows of HDF5",
            "logs",
            {
                "gipo, read": lambda: whole(lambda: catalog.load(str(file))),
                "gipo, read and checked": lambda: whole(lambda: open_log(str(file))),
                "gipo, to tensors": lambda: whole(lambda: samples_of(scale.file_rows)),
                "h5py alone (limit)": lambda: whole(lambda: read_all(file)),
            },
            as_seconds=True,
            alone=True,
        )


def whole(read: Callable[[], object]) -> Subject:
    """One unit is one log."""

    def work(times: int) -> None:
        for _ in range(times):
            read()

    return Subject(work)


def read_all(path: Path) -> list[object]:
    """Every dataset of the file, whole."""
    found: list[object] = []
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.append(item[()]) if isinstance(item, h5py.Dataset) else None)
    return found
