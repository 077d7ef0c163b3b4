"""Logs of many rows: every stage grows with its rows and no faster, and memory hardly at all where they are mapped."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from gipo_cli.advantages import explained, path_consistency
from gipo_cli.config import TrainConfig
from gipo_cli.data import catalog
from gipo_cli.data.checks import check
from gipo_cli.diagnostics.inspection import Weights, inspect
from gipo_cli.policies.policy import Policy, PolicySpec
from gipo_cli.training.loop import log_ratios
from gipo_cli.training.order import ShuffledRows
from gipo_cli.training.samples import to_samples
from gipo_cli.training.state import begun
from tests.advantages.corridor import silent
from tests.benchmarks import large
from tests.benchmarks.values import task

CPU, SMALL, TIMES = torch.device("cpu"), 40_000, 4


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    place = tmp_path_factory.mktemp("large")
    for rows in (SMALL, TIMES * SMALL):
        large.write(place / f"{rows}.hdf5", rows)
    return place


@pytest.fixture(scope="module")
def logs(files):
    return {rows: catalog.load(str(files / f"{rows}.hdf5")) for rows in (SMALL, TIMES * SMALL)}


@pytest.fixture(scope="module")
def samples(logs):
    return {rows: to_samples(log, 0.1, 0, CPU) for rows, log in logs.items()}


def growth(stage):
    """CPU time at TIMES as many rows over that at SMALL, each the least of three."""
    least = {}
    for rows in (SMALL, TIMES * SMALL) * 3:
        began = time.process_time()
        stage(rows)
        least[rows] = min(least.get(rows, np.inf), time.process_time() - began)
    return least[TIMES * SMALL] / least[SMALL]


def stage_of(name, files, logs, samples):
    """A stage as a function of the number of rows."""
    policy = Policy(PolicySpec("gaussian", large.OBSERVATION, large.ACTION, (16,)))
    config = TrainConfig("large")

    def ratios(rows):
        advantage = torch.zeros(rows)
        return log_ratios(begun(config, policy, advantage, {"warm_start": {"kl": 0.0}}, None), samples[rows])

    def weights(rows):
        draw = np.random.default_rng(0)
        x, advantage = draw.standard_normal((2, rows)) * 0.1
        return Weights(x, advantage, np.arange(rows) // 1000, np.arange(rows) // 1000 % 10 == 0, np.exp(x))

    def epoch(rows):
        order = ShuffledRows(samples[rows].held_in_rows, 256, 0, 1)
        for step in range(order.batches_per_epoch):
            order.batch(step)

    return {
        "reading": lambda rows: catalog.load(str(files / f"{rows}.hdf5")),
        "checking": lambda rows: check(logs[rows]),
        "fingerprint": lambda rows: type(logs[rows]).fingerprint.func(logs[rows]),
        "samples": lambda rows: to_samples(logs[rows], 0.1, 0, CPU),
        "order": epoch,
        "advantages": lambda rows: path_consistency.estimate(task(samples[rows], 1, silent)),
        "log ratios": ratios,
        "inspect-weights": lambda rows: inspect(weights(rows), 2.7),
    }[name]


@pytest.mark.parametrize(
    "name",
    ["reading", "checking", "fingerprint", "samples", "order", "advantages", "log ratios", "inspect-weights"],
)  # fmt: skip
def test_a_stage_grows_with_the_rows_of_the_log(name, files, logs, samples, monkeypatch):
    monkeypatch.setattr(path_consistency, "START_FIT_STEPS", 1)
    monkeypatch.setattr(explained, "MOST_STRETCHES", 1000)
    found = growth(stage_of(name, files, logs, samples))
    print(f"\n{name}: {found:.2f} times for {TIMES} times the rows")
    # Quadratic would be 16; above 4 by n log n, and by columns that no longer fit into the processor's cache.
    assert found < 2 * TIMES


def test_a_stage_that_grows_faster_would_be_noticed():
    def each_with_each(rows):
        column = np.zeros(rows // 20)
        for k in range(len(column) // 2):
            np.cumsum(column[: 2 * k])

    assert growth(each_with_each) > 2 * TIMES


PEAK = """
from gipo_cli.advantages import explained, path_consistency
from gipo_cli.data import resident
from gipo_cli.training import columns, order, samples
from tests.benchmarks.large import CHILD
explained.MOST_STRETCHES, path_consistency.START_FIT_STEPS = 1000, 5
resident.RESIDENT, resident.SCATTERED = 2**23, 64
columns.LARGE = samples.LARGE = order.WINDOW = 2**17
exec(CHILD)
"""


def peak(rows, place):
    """Bytes that a process has resident at most, which trains on a mapped log of so many rows."""
    log = place / f"{rows}.hdf5"
    large.write(log, rows)
    env = {**os.environ, "GIPO_CACHE": str(place / "cache"), "GIPO_COLUMN_MEMORY": "100000", "OMP_NUM_THREADS": "1",
           "MALLOC_MMAP_THRESHOLD_": "65536"}  # fmt: skip  # what is freed leaves at once, and is not counted as needed
    command = [sys.executable, "-c", PEAK, log, place / f"run-{rows}", "path-consistency", "20"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)["peak_gib"] * 2**30


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the peak is read from Linux's /proc")
def test_memory_hardly_grows_with_a_mapped_log(tmp_path):
    few, many = 150_000, 900_000
    more = peak(many, tmp_path) - peak(few, tmp_path)
    columns = (many - few) * 4 * (2 * large.OBSERVATION + 2 * large.ACTION + 8)
    print(f"\n{more / 2**20:.0f} MiB more; columns in memory would be {columns / 2**20:.0f} MiB more")
    assert more < columns / 2  # 0.2 where it was written; in memory 0.7
