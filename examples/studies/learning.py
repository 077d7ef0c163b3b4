"""Every objective on every log: default settings, several seeds, last checkpoint, judged by rollouts afterwards.

    python examples/studies/learning.py runs/learning --jobs 2
    gipo compare runs/learning --baseline ppo-clip --markdown

Runs that are there already are left alone and those that were stopped go on, so it may be stopped at any time. No
environment is looked at while a policy trains, and what is compared is what was trained, not what would be kept
(certify=false). A run and its evaluation take one to three minutes on one core.
"""

import argparse
import itertools
from pathlib import Path

from launching import side_by_side, train_and_evaluate

LOGS = [f"{robot}-{kind}" for robot in ("hopper", "walker2d", "halfcheetah") for kind in ("medium", "medium-replay")]
OBJECTIVES = ("gipo", "ppo-clip", "sapo", "no-clip", "awr", "bc")


def main() -> None:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("place", type=Path)
    parser.add_argument("--logs", nargs="+", default=LOGS)
    parser.add_argument("--objectives", nargs="+", default=OBJECTIVES)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args()

    def one(seed: int, objective: str, log: str) -> None:
        train = ("--dataset", log, "--objective", objective, "--seed", str(seed))
        shared = given.place / f"{log}-{OBJECTIVES[0]}-{seed}"
        train_and_evaluate(given.place / f"{log}-{objective}-{seed}", train, given.episodes, shared)

    side_by_side(given.jobs, one, itertools.product(range(given.seeds), given.objectives, given.logs))


if __name__ == "__main__":
    main()
