"""Every objective on every log: default settings, several seeds, last checkpoint, judged by rollouts afterwards.

    python examples/studies/learning.py runs/learning --jobs 2
    gipo compare runs/learning --markdown > examples/studies/learning.md

Runs that are there already are left alone, so it goes on where it was stopped; no environment is looked at while a
policy trains. `--set certify=false` holds throughout: what is compared is what was trained, not what would be kept.
A run and its evaluation take one to three minutes on one core.
"""

import argparse
import itertools
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

LOGS = [f"{robot}-{kind}" for robot in ("hopper", "walker2d", "halfcheetah") for kind in ("medium", "medium-replay")]
OBJECTIVES = ("gipo", "ppo-clip", "sapo", "no-clip", "awr", "bc")


def one(place: Path, log: str, objective: str, seed: int, episodes: int, extra: list[str]) -> str:
    """Train and evaluate once, in processes of their own; says what failed."""
    run = place / f"{log}-{objective}-{seed}"
    gipo = [sys.executable, "-m", "gipo_cli"]
    train = [*gipo, "train", "--dataset", log, "--objective", objective, "--seed", str(seed), "--out", str(run)]
    steps = [[*train, "--set", "certify=false", "--quiet", *extra]]
    if (run / "run.json").exists():
        steps = [[*gipo, "train", "--resume", str(run), "--quiet"]]
    if not (run / "evaluation.json").exists():
        steps.append([*gipo, "evaluate", str(run), "--episodes", str(episodes), "--quiet"])
    else:
        steps = []
    for step in steps:
        done = subprocess.run(step, capture_output=True, text=True, check=False)
        if done.returncode:
            return f"{run}: {done.stderr.strip()}"
    return f"{run}: done"


def main() -> None:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("place", type=Path)
    parser.add_argument("--logs", nargs="+", default=LOGS)
    parser.add_argument("--objectives", nargs="+", default=OBJECTIVES)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--set", action="append", default=[], help="passed on to gipo train")
    given = parser.parse_args()
    extra = [part for setting in given.set for part in ("--set", setting)]
    cells = itertools.product(range(given.seeds), given.objectives, given.logs)
    with ThreadPoolExecutor(given.jobs) as pool:
        for line in pool.map(lambda cell: one(given.place, cell[2], cell[1], cell[0], given.episodes, extra), cells):
            print(line, flush=True)


if __name__ == "__main__":
    main()
