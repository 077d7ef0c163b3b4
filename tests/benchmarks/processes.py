"""Every benchmark in a process of its own, whose threads are set before anything is imported.

Linux counts what a process inherits at its start into its peak memory: whoever starts them imports nothing large.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent
NO_ROUND = "0"  # of repeats: warm up and leave


def measured(name: str, threads: int, arguments: tuple[str, ...]) -> list[dict[str, Any]]:
    """The results of one benchmark.

    Raises:
        SystemExit: it failed; what it said goes with it.
    """
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "results.json"
        command = [sys.executable, "-m", "tests.benchmarks", "--here", "--only", name, "--threads", str(threads)]
        done = subprocess.run(
            [*command, *arguments, "--out", str(out)], cwd=ROOT, env=_environment(threads, place),
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"the benchmark {name} ended with {done.returncode}:\n{done.stderr}")
        return json.loads(out.read_text())["results"]


def peak_alone(name: str, subject: str, comparison: str, arguments: tuple[str, ...]) -> float:
    """Peak of a process that does one subject's work and nothing else, in mebibytes."""
    chosen = ("--comparison", comparison, "--subject", subject, "--repeats", NO_ROUND)
    return measured(name, 1, (*arguments, *chosen))[0]["peak_mebibytes"]


def _environment(threads: int, place: str) -> dict[str, str]:
    """For torch and numpy, and for JAX, which heeds neither of theirs."""
    count = str(threads)
    return os.environ | {
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "NPROC": count,
        "XLA_FLAGS": f"--xla_cpu_multi_thread_eigen={'true' if threads > 1 else 'false'}",
        "JAX_PLATFORMS": "cpu",
        "GIPO_CACHE": place,
        "MPLBACKEND": "agg",
    }
