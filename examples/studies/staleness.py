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
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from scipy.stats import t as student

POLICIES = Path(__file__).parents[2] / "datasets/policies/halfcheetah-ppo"
BEHIND = (0, 1, 2, 4, 8, 14)
OBJECTIVES = ("gipo", "ppo-clip", "sapo", "no-clip")
GIPO = [sys.executable, "-m", "gipo_cli"]


def run(*arguments: str) -> None:
    """Run the command line; whatever it says on stderr is shown if it fails."""
    done = subprocess.run([*GIPO, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"gipo {' '.join(arguments)}\n{done.stderr}")


def record(place: Path, policies: list[Path]) -> None:
    """The logs of all rungs."""
    for behind in BEHIND:
        log = place / f"behind-{behind:02d}.hdf5"
        if not log.exists():
            how = ("--environment", "HalfCheetah-v5", "--steps", "100000", "--environments", "20", "--quiet")
            policy = policies[-1 - behind]
            run("datasets", "record", *how, "--policy", str(policy), "--seed", str(behind), "--out", str(log))


def one(place: Path, newest: Path, behind: int, objective: str, seed: int, episodes: int) -> None:
    """Train and evaluate once."""
    log, out = place / f"behind-{behind:02d}.hdf5", place / f"behind-{behind:02d}-{objective}-{seed}"
    if not (out / "run.json").exists():
        run("train", "--dataset", str(log), "--init", str(newest), "--objective", objective, "--seed", str(seed),
            "--set", "certify=false", "--out", str(out), "--quiet")  # fmt: skip
    if not (out / "evaluation.json").exists():
        run("evaluate", str(out), "--episodes", str(episodes), "--quiet")


def table(place: Path, seeds: int) -> None:
    """Mean return over seeds with half of its 95 % interval, one row a rung."""
    print(f"| versions behind | the log's own return | KL at the start | {' | '.join(OBJECTIVES)} |")
    print("|---|---|---|" + "---|" * len(OBJECTIVES))
    for behind in BEHIND:
        cells, first = [], {}
        for objective in OBJECTIVES:
            runs = [place / f"behind-{behind:02d}-{objective}-{seed}" for seed in range(seeds)]
            found = [json.loads((path / "evaluation.json").read_text()) for path in runs]
            means = np.array([one["policy"]["stochastic"]["mean"] for one in found])
            half = student.ppf(0.975, seeds - 1) * means.std(ddof=1) / seeds**0.5 if seeds > 1 else float("nan")
            cells.append(f"{means.mean():,.0f}" + (f" ± {half:,.0f}" if seeds > 1 else ""))
            first = json.loads((runs[0] / "run.json").read_text())
        print(
            f"| {behind} | {first['dataset']['mean_return']:,.0f} | {first['warm_start']['kl']:.2f} | "
            f"{' | '.join(cells)} |"
        )


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
    cells = list(itertools.product(range(given.seeds), BEHIND, OBJECTIVES))
    with ThreadPoolExecutor(given.jobs) as pool:
        list(pool.map(lambda cell: one(given.place, policies[-1], cell[1], cell[2], cell[0], given.episodes), cells))
    table(given.place, given.seeds)


if __name__ == "__main__":
    main()
