"""How long a person waits for `gipo --help`, against what importing torch alone costs."""

import statistics
import subprocess
import sys
import time


def seconds(*command):
    """Median wall time of three runs after one that warms the disk cache."""
    times = []
    for _ in range(4):
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - began)
    return statistics.median(times[1:])


def test_help_takes_at_most_a_quarter_of_importing_torch():
    help_ = seconds(sys.executable, "-m", "gipo_cli", "--help")
    torch = seconds(sys.executable, "-c", "import torch")
    assert help_ <= torch / 4, f"gipo --help {help_:.2f} s, import torch {torch:.2f} s"
