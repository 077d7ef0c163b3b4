"""`gipo train --dataset hopper-medium` with every default, from the command to its summary; minutes."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator

from tests.benchmarks.comparison import Comparison, Subject
from tests.benchmarks.scale import Scale


def comparisons(scale: Scale) -> Iterator[Comparison]:
    """Once: repeats would take longer than everything else."""
    yield Comparison("the default run", "runs", {"gipo train": lambda: Subject(train)}, as_seconds=True, once=True)


def train(times: int) -> None:
    """Into a directory that goes with it."""
    for _ in range(times):
        with tempfile.TemporaryDirectory() as place:
            command = [sys.executable, "-m", "gipo_cli", "train", "--dataset", "hopper-medium", "--quiet"]
            subprocess.run([*command, "--out", f"{place}/run"], stdout=subprocess.DEVNULL, check=True)
