"""GIPO and its baselines on three tasks of Meta-World, where an action is one of 256 bins in each of four dimensions.

In an environment of its own, because metaworld pins an older mujoco:

    python3 -m venv .venv-metaworld && .venv-metaworld/bin/pip install torch==2.13.0
    .venv-metaworld/bin/pip install metaworld==3.1.1 -e .
    .venv-metaworld/bin/python examples/studies/metaworld/study.py runs/metaworld --jobs 2

Each task gets a mediocre behaviour policy (behaviour.py) and a log of 100,000 of its steps, 500 episodes. Default
settings but for the objective, and joint or per-dimension ratios for GIPO. Last checkpoint, nothing certified away, no
environment looked at while training. Sampled actions; an episode succeeds if it ever did (success.py). Prints the
tables as Markdown; what is there is left alone, so it goes on where it was stopped. On one core the first run of a task
and seed takes about five minutes, the others, which share its start and advantages, half of that.
"""

import argparse
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from bins import EXPERTS, environment_id
from scipy.stats import t as student

HERE = Path(__file__).parent
sys.path.insert(1, str(HERE.parent))
from launching import gipo, mean_return, side_by_side, train_and_evaluate  # noqa: E402

METHODS = {
    "gipo": ("--objective", "gipo"),
    "gipo-per-dimension": ("--objective", "gipo", "--set", "ratios=per-dimension"),
    "ppo-clip": ("--objective", "ppo-clip"),
    "sapo": ("--objective", "sapo"),
    "no-clip": ("--objective", "no-clip"),
}


def script(name: str, *arguments: str) -> str:
    """What a script beside this one prints.

    Raises:
        SystemExit: with what it said, if it failed.
    """
    done = subprocess.run([sys.executable, HERE / name, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} {' '.join(arguments)}\n{done.stderr}")
    return done.stdout


def note_success(task: str, policy: Path, out: Path, episodes: int) -> None:
    """Leave a policy's success in a file, unless it is there."""
    if not out.exists():
        out.write_text(script("success.py", task, str(policy), "--episodes", str(episodes)))


def record(place: Path, task: str, episodes: int) -> None:
    """The behaviour policy of a task, what it is worth, and its log."""
    policy, log = place / f"{task}.safetensors", place / f"{task}.hdf5"
    if not policy.exists():
        script("behaviour.py", task, "--out", str(policy))
    note_success(task, policy, place / f"{task}.json", episodes)
    if not log.exists():
        gipo(
            "datasets", "record", "--environment", environment_id(task), "--policy", str(policy),
            "--steps", "100000", "--environments", "20", "--out", str(log), "--quiet",
        )  # fmt: skip


def run_of(place: Path, task: str, method: str, seed: int) -> Path:
    """Where a run lies."""
    return place / f"{task}-{method}-{seed}"


def mean_success(files: list[Path]) -> str:
    """Mean success in per cent, with half of the 95 % interval over seeds where there are several."""
    found = [100 * json.loads(file.read_text())["success"] for file in files]
    if len(found) == 1:
        return f"{found[0]:.0f}"
    half = student.ppf(0.975, len(found) - 1) * np.std(found, ddof=1) / len(found) ** 0.5
    return f"{np.mean(found):.0f} ± {half:.0f}"


def tables(place: Path, tasks: list[str], seeds: int) -> None:
    """Success and return, one row a task; the behaviour's are of the same starts."""
    heads = " | ".join(METHODS)
    for what, of_runs in (("success, %", _success_of), ("return", mean_return)):
        print(f"\n| {what} | behaviour | {heads} |\n|---|---|{'---|' * len(METHODS)}")
        for task in tasks:
            own = json.loads((place / f"{task}.json").read_text())
            behaviour = f"{own['mean']:,.0f}" if what == "return" else f"{100 * own['success']:.0f}"
            cells = [of_runs([run_of(place, task, method, seed) for seed in range(seeds)]) for method in METHODS]
            print(f"| {task} | {behaviour} | {' | '.join(cells)} |")


def _success_of(runs: list[Path]) -> str:
    return mean_success([run / "success.json" for run in runs])


def main() -> None:
    """Run what the command line names, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("place", type=Path)
    parser.add_argument("--tasks", nargs="+", choices=EXPERTS, default=list(EXPERTS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args()
    given.place.mkdir(parents=True, exist_ok=True)
    # Where gipo's processes find the module that the environments' names begin with.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(HERE.resolve()), os.environ.get("PYTHONPATH"))))
    side_by_side(given.jobs, lambda task: record(given.place, task, given.episodes), ((task,) for task in given.tasks))

    def one(seed: int, method: str, task: str) -> None:
        out, shared = (run_of(given.place, task, name, seed) for name in (method, "gipo"))
        train = ("--dataset", str(given.place / f"{task}.hdf5"), "--seed", str(seed), *METHODS[method])
        train_and_evaluate(out, train, given.episodes, shared, environment_id(task))
        note_success(task, out, out / "success.json", given.episodes)

    side_by_side(given.jobs, one, itertools.product(range(given.seeds), METHODS, given.tasks))
    tables(given.place, given.tasks, given.seeds)


if __name__ == "__main__":
    main()
