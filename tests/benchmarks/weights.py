"""`gipo inspect-weights` on runs of many steps: what `--json` prints, without Python's start.

    python -m tests.benchmarks.weights --rows 1000000 10000000 100000000

For each number of rows the peak of resident memory (VmHWM, mapped files included) and the CPU time of a process of its
own that looks at such a run. Needs 26 bytes of the cache for each row.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gipo_cli.config import TrainConfig
from gipo_cli.reports.weights import inspect_run
from gipo_cli.runs import RunDirectory
from tests.benchmarks.comparison import Comparison, Subject
from tests.benchmarks.made_up import EPISODE
from tests.benchmarks.scale import Scale

CHILD = """
import sys, time
from pathlib import Path
from gipo_cli.reports.weights import inspect_run
from gipo_cli.runs import RunDirectory

began = time.process_time()
inspect_run(RunDirectory.open(Path(sys.argv[1])))
seconds = time.process_time() - began
peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(f"{peak / 2**20:.2f} GiB resident at most, {seconds:.2f} s of CPU, {began:.2f} s before to start")
"""


def main() -> None:
    """Make runs of so many rows, look at each, print a line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--place", type=Path, help="directory for the run and the cache (default: the system's)")
    given = parser.parse_args()
    for rows in given.rows:
        with tempfile.TemporaryDirectory(dir=given.place) as place:
            make_run(Path(place) / "run", rows)
            env = {**os.environ, "GIPO_CACHE": place, "OMP_NUM_THREADS": "1"}
            command = [sys.executable, "-c", CHILD, Path(place) / "run"]
            done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True)
            print(f"{rows:,} rows: {done.stdout}", end="", flush=True)


def comparisons(scale: Scale) -> Iterator[Comparison]:
    """One for each number of steps, held against reading the same arrays and no more."""
    for rows in scale.weight_rows:
        with tempfile.TemporaryDirectory() as place:
            run = Path(place) / "run"
            make_run(run, rows)
            yield Comparison(
                f"inspect-weights of {rows:,} steps",
                "runs",
                {
                    "gipo": lambda run=run: inspected(run),
                    "numpy reads log_ratios.npz alone (limit)": lambda run=run: read(run),
                },
                as_seconds=True,
                alone=True,
            )


def make_run(place: Path, rows: int) -> None:
    """A run directory as training leaves one, of made-up weights: log ratios of about half a nat, with mean ratio 1."""
    draw = np.random.default_rng(0)
    run = RunDirectory.create(place)
    run.write_config(TrainConfig("made-up").to_dict())
    run.update(status="finished", settings={}, dataset={"log_probs": "recorded"})
    episode = np.arange(rows) // EPISODE
    run.write_log_ratios(
        log_ratio=draw.normal(-0.125, 0.5, rows).astype(np.float32),
        advantage=draw.standard_normal(rows, np.float32),
        episode=episode,
        held_out=episode % 10 == 0,
        home=np.ones(rows, bool),
        step=np.asarray(2000),
    )


def inspected(run: Path) -> Subject:
    """One unit is one run."""

    def work(times: int) -> None:
        for _ in range(times):
            inspect_run(RunDirectory.open(run))

    return Subject(work)


def read(run: Path) -> Subject:
    """One unit is one run."""

    def work(times: int) -> None:
        for _ in range(times):
            with np.load(run / "log_ratios.npz") as archive:
                for name in archive.files:
                    archive[name]

    return Subject(work)


if __name__ == "__main__":
    main()
