"""Reading a log of a million steps: time against h5py reading the same columns, memory against their size."""

import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

from gipo_cli.data import catalog

STEPS, OBSERVED, ACTED = 1_000_000, 11, 3  # hopper's shape
KEYS = ("observations", "next_observations", "actions", "rewards", "terminals", "timeouts", "infos/action_log_probs")
# Blocks of rows and HDF5's own buffers, however long the log; the next observations alone would be 44 million bytes.
BESIDE = 36 * 2**20
COLUMNS = ("observations", "actions", "rewards", "behaviour_log_probs", "terminated", "truncated")


@pytest.fixture(scope="module")
def million(tmp_path_factory):
    """D4RL's layout: chunked and compressed as h5py's gzip does by default, episodes of 500 steps, half of them cut."""
    rng = np.random.default_rng(0)
    observations = rng.standard_normal((STEPS + 1, OBSERVED), np.float32)
    last = np.arange(499, STEPS, 500)
    following = observations[1:].copy()
    following[last] += 1
    flags = np.zeros((2, STEPS), bool)
    flags[0, last[::2]] = flags[1, last[1::2]] = True
    path = tmp_path_factory.mktemp("million") / "hopper.hdf5"
    with h5py.File(path, "w") as file:
        for key, column in {
            "observations": observations[:-1], "next_observations": following, "terminals": flags[0],
            "timeouts": flags[1], "actions": rng.random((STEPS, ACTED), np.float32) * 1.98 - 0.99,
            "rewards": rng.standard_normal(STEPS, np.float32),
            "infos/action_log_probs": rng.standard_normal(STEPS, np.float32),
        }.items():  # fmt: skip
            file.create_dataset(key, data=column, compression="gzip", compression_opts=4)
    return path


def seconds(read):
    began = time.perf_counter()
    read()
    return time.perf_counter() - began


def test_loading_takes_at_most_a_fifth_longer_than_h5py(million):
    def columns():
        with h5py.File(million) as file:
            return [file[key][:] for key in KEYS]

    def log():
        return catalog.load(str(million))

    log()  # imports, and the disk's cache
    plain = ours = float("inf")
    for k in range(15):
        plain, ours = min(plain, seconds(columns)), min(ours, seconds(log))
        if k >= 4 and ours <= 1.2 * plain:  # a busy machine takes longer to show the least of both
            break
    print(f"\nh5py {plain:.3f} s, gipo {ours:.3f} s, ratio {ours / plain:.2f}")
    assert ours <= 1.2 * plain, f"h5py {plain:.3f} s, gipo {ours:.3f} s"


CHILD = """
import sys
from gipo_cli.data import catalog

def peak():  # of this process alone: getrusage's begins with that of the process that started it
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

catalog.load(sys.argv[1])  # imports and their memory
before = peak()
log = catalog.load(sys.argv[2])
print(peak() - before, sum(getattr(log, name).nbytes for name in sys.argv[3:]))
"""


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the peak is read from Linux's /proc")
def test_the_peak_of_memory_is_the_columns_and_little_more(million, cartpole_log):
    """The next observations, as large as the observations, pass through a block at a time and are not kept."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, cartpole_log, million, *COLUMNS], capture_output=True, text=True, check=True
    )
    peak, size = map(int, done.stdout.split())
    print(f"\ncolumns {size / 2**20:.0f} MiB, peak {peak / 2**20:.0f} MiB, ratio {peak / size:.2f}")
    assert size == STEPS * 4 * (OBSERVED + ACTED + 2) + STEPS * 2
    assert 0.9 * size <= peak <= size + BESIDE, f"columns {size:,} bytes, peak {peak:,}"


def test_a_log_larger_than_memory_is_mapped_and_opens_again_from_the_cache(million, tmp_path, monkeypatch):
    in_memory = catalog.load(str(million)).fingerprint
    monkeypatch.setenv("GIPO_CACHE", str(tmp_path))
    monkeypatch.setenv("GIPO_COLUMN_MEMORY", str(2**20))
    log = catalog.load(str(million))
    assert all(isinstance(getattr(log, name), np.memmap) for name in ("observations", "actions", "rewards"))
    assert log.fingerprint == in_memory
    made = {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in tmp_path.rglob("*.npy")}
    assert made
    again = catalog.load(str(million))
    assert again.fingerprint == in_memory
    assert {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in tmp_path.rglob("*.npy")} == made
