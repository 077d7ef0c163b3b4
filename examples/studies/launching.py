"""What the studies share: the command line in processes of its own, runs that are made once, means over seeds."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t as student


def gipo(*arguments: str) -> None:
    """Run the command line.

    Raises:
        SystemExit: with what it said, if it failed.
    """
    done = subprocess.run([sys.executable, "-m", "gipo_cli", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"gipo {' '.join(arguments)}\n{done.stderr}")


def train_and_evaluate(
    out: Path, train: Iterable[str], episodes: int, reuse: Path | None = None, environment: str = ""
) -> None:
    """Make a run and evaluate it, or what of that is missing; nothing is certified away.

    Start and advantages are those of the run `reuse`, where it is that far: the result is the same, sooner. An
    environment is named where it is a module's own, which is imported only where a user asks for it.
    """
    if (out / "evaluation.json").exists():
        return
    if (out / "run.json").exists():
        gipo("train", "--resume", str(out), "--quiet")
    else:
        begun = reuse is not None and (reuse / "checkpoints" / "step-00000000").exists()
        shared = ("--reuse", str(reuse)) if begun else ()
        gipo("train", *train, *shared, "--set", "certify=false", "--out", str(out), "--quiet")
    named = ("--environment", environment) if environment else ()
    gipo("evaluate", str(out), *named, "--episodes", str(episodes), "--quiet")


def side_by_side(jobs: int, work: Callable[..., None], cells: Iterable[tuple[Any, ...]]) -> None:
    """Call `work` with each cell, `jobs` at a time; the first failure ends it."""
    with ThreadPoolExecutor(jobs) as pool:
        for cell, _ in zip(cells := list(cells), pool.map(lambda cell: work(*cell), cells), strict=True):
            print(*cell, "done", file=sys.stderr, flush=True)


def mean_return(runs: list[Path]) -> str:
    """Mean stochastic return of evaluated runs, with half of the 95 % interval over seeds where there are several."""
    found = [json.loads((run / "evaluation.json").read_text())["policy"]["stochastic"]["mean"] for run in runs]
    if len(found) == 1:
        return f"{found[0]:,.0f}"
    half = student.ppf(0.975, len(found) - 1) * np.std(found, ddof=1) / len(found) ** 0.5
    return f"{np.mean(found):,.0f} ± {half:,.0f}"
