"""How stale may a log be? GIPO and three baselines on logs from policies 0 to 14 versions behind the starting policy.

    python examples/studies/staleness.py runs/staleness --jobs 2

Fifteen checkpoints of one PPO run on HalfCheetah come with the package. Each log is 100,000 steps of one of them; every
training starts from the newest (--init), so the log is as many versions behind it; the return of the log that is 0
behind is the starting policy's own. Last checkpoint, nothing certified away, no environment looked at while training.
Prints the table as Markdown; runs that are there are left alone, so it goes on where it was stopped. A run and its
evaluation take about a minute and a half on one core.
"""

import argparse
import itertools
import json
from pathlib import Path

from launching import gipo, mean_return, side_by_side, train_and_evaluate

POLICIES = Path(__file__).parents[2] / "datasets/policies/halfcheetah-ppo"
BEHIND = (0, 1, 2, 4, 8, 14)
OBJECTIVES = ("gipo", "ppo-clip", "sapo", "no-clip")


def record(place: Path, policies: list[Path]) -> None:
    """The logs of all rungs."""
    how = ("--environment", "HalfCheetah-v5", "--steps", "100000", "--environments", "20", "--quiet")
    for behind in BEHIND:
        log, policy = place / f"behind-{behind:02d}.hdf5", policies[-1 - behind]
        if not log.exists():
            gipo("datasets", "record", *how, "--policy", str(policy), "--seed", str(behind), "--out", str(log))


def table(place: Path, seeds: int) -> None:
    """Mean return over seeds with half of its 95 % interval, one row a rung."""
    print(f"| versions behind | the log's own return | KL at the start | {' | '.join(OBJECTIVES)} |")
    print("|---|---|---|" + "---|" * len(OBJECTIVES))
    for behind in BEHIND:
        runs = {name: [place / f"behind-{behind:02d}-{name}-{seed}" for seed in range(seeds)] for name in OBJECTIVES}
        first = json.loads((runs["gipo"][0] / "run.json").read_text())
        own, kl = first["dataset"]["mean_return"], first["warm_start"]["kl"]
        print(f"| {behind} | {own:,.0f} | {kl:.2f} | {' | '.join(mean_return(runs[name]) for name in OBJECTIVES)} |")


def main() -> None:
    """Run what the command line names, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("place", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--episodes", type=int, default=30)
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args()
    given.place.mkdir(parents=True, exist_ok=True)
    policies = sorted(POLICIES.glob("*.safetensors"))
    record(given.place, policies)

    def one(seed: int, behind: int, objective: str) -> None:
        log, out = (given.place / f"behind-{behind:02d}{rest}" for rest in (".hdf5", f"-{objective}-{seed}"))
        train = ("--dataset", str(log), "--init", str(policies[-1]), "--objective", objective, "--seed", str(seed))
        train_and_evaluate(out, train, given.episodes, out.with_name(f"behind-{behind:02d}-{OBJECTIVES[0]}-{seed}"))

    side_by_side(given.jobs, one, itertools.product(range(given.seeds), BEHIND, OBJECTIVES))
    table(given.place, given.seeds)


if __name__ == "__main__":
    main()
