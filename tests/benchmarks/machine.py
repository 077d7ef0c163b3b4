"""What the machine can do: the rate of matrix products, of copies in memory, and of reading uncompressed HDF5."""

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import h5py
import numpy as np
import torch

from tests.benchmarks.comparison import Comparison, Subject, Timed
from tests.benchmarks.loading import whole
from tests.benchmarks.scale import Scale

SHAPES = ((256, 256, 256), (1024, 256, 256), (8192, 256, 256), (1024, 128, 128))  # rows, in, out; the last a critic's


def comparisons(scale: Scale) -> Iterator[Comparison]:
    """Nothing of gipo's."""
    yield Comparison(
        "matrix products, float32",
        "GFLOP",
        {" x ".join(map(str, shape)): lambda shape=shape: products(*shape) for shape in SHAPES},
    )
    yield Comparison("copies in memory", "GB", {"numpy, bytes copied": lambda: copies(scale.megabytes)})
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / "plain.hdf5"
        values = np.random.default_rng(0).standard_normal((scale.megabytes * 1000, 250), np.float32)
        with h5py.File(file, "w") as opened:
            opened["values"] = values
        yield Comparison(
            "reading a file that is in the page cache",
            "GB",
            {
                "h5py, contiguous float32": lambda: sized(lambda: h5py_read(file), values.nbytes),
                "plain bytes": lambda: sized(lambda: file.read_bytes(), file.stat().st_size),
            },
        )


def products(rows: int, fan_in: int, fan_out: int) -> Subject:
    """GFLOP of one product after the other."""
    left, right, out = torch.randn(rows, fan_in), torch.randn(fan_in, fan_out), torch.empty(rows, fan_out)
    each = 2e-9 * rows * fan_in * fan_out
    chunk = max(1, round(0.2 / each))

    def work(times: int) -> None:
        for _ in range(times):
            torch.mm(left, right, out=out)

    return in_units(Subject(work, chunk), each)


def copies(megabytes: int) -> Subject:
    """From one array into another, both larger than any cache."""
    source = np.ones(megabytes * 250_000, np.float32)
    target = np.zeros_like(source)

    def work(times: int) -> None:
        for _ in range(times):
            np.copyto(target, source)

    return in_units(Subject(work), source.nbytes / 1e9)


def sized(read: Callable[[], object], size: int) -> Subject:
    """GB of a file read whole."""
    return in_units(whole(read), size / 1e9)


def h5py_read(path: Path) -> np.ndarray:
    """The one dataset of the file."""
    with h5py.File(path) as file:
        return np.asarray(file["values"])


def in_units(subject: Subject, each: float) -> Subject:
    """The same work, counted in another unit, of which a call does `each`."""

    def work(times: int) -> Timed:
        began = time.perf_counter()
        subject.work(times)
        return Timed(times * each, time.perf_counter() - began)

    return Subject(work, subject.chunk)
