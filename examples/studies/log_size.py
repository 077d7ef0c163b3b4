"""How large does a log have to be? Default settings on logs of Hopper of 10,000 to 1,000,000 steps.

    python examples/studies/log_size.py runs/log-size --jobs 2

All are by the policy of hopper-medium, each recorded anew. Last checkpoint, nothing certified away; beside it whether
the held-out episodes would have certified it. Prints the table as Markdown; runs that are there are left alone, so it
goes on where it was stopped.
"""

import argparse
import itertools
import json
from pathlib import Path

from launching import gipo, mean_return, side_by_side, train_and_evaluate

POLICY = Path(__file__).parents[2] / "datasets/policies/hopper-sac-130k.safetensors"
SIZES = (10_000, 30_000, 100_000, 300_000, 1_000_000)
OBJECTIVES = ("gipo", "ppo-clip")


def table(place: Path, seeds: int) -> None:
    """Mean return over seeds with half of its 95 % interval, and how many seeds would be certified."""
    print("| steps | " + " | ".join(f"{name} | certified" for name in OBJECTIVES) + " |")
    print("|---|" + "---|---|" * len(OBJECTIVES))
    for size in SIZES:
        cells = []
        for name in OBJECTIVES:
            runs = [place / f"{size:07d}-{name}-{seed}" for seed in range(seeds)]
            certified = [json.loads((run / "run.json").read_text())["certificate"]["certified"] for run in runs]
            cells.append(f"{mean_return(runs)} | {sum(certified)} of {seeds}")
        print(f"| {size:,} | {' | '.join(cells)} |")


def main() -> None:
    """Run what the command line names, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("place", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args()
    given.place.mkdir(parents=True, exist_ok=True)
    how = ("--environment", "Hopper-v5", "--policy", str(POLICY), "--environments", "16", "--quiet")
    for size in SIZES:
        log = given.place / f"{size:07d}.hdf5"
        if not log.exists():
            gipo("datasets", "record", *how, "--steps", str(size), "--seed", "1", "--out", str(log))

    def one(seed: int, size: int, objective: str) -> None:
        train = ("--dataset", str(given.place / f"{size:07d}.hdf5"), "--objective", objective, "--seed", str(seed))
        shared = given.place / f"{size:07d}-{OBJECTIVES[0]}-{seed}"
        train_and_evaluate(given.place / f"{size:07d}-{objective}-{seed}", train, given.episodes, shared)

    side_by_side(given.jobs, one, itertools.product(range(given.seeds), SIZES, OBJECTIVES))
    table(given.place, given.seeds)


if __name__ == "__main__":
    main()
