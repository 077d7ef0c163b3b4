"""One policy trained by 1, 2 and 4 processes under torchrun: how far they agree, and how fast each is.

    python examples/studies/ranks.py hopper-medium --steps 1000

For each batch size and number of ranks: the final figures on held-out episodes, the largest difference of a parameter
from that of one process in units of the largest parameter of its layer, whether a second training has the same bytes,
and updates per second, from the checkpoint of step 100 to the last one, reports and checkpoints included; what the
other ranks do once, before the first update, comes before that. All trainings of one batch size take start and
advantages from one run, so that what differs is the updates.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

FIRST = 100  # step of the checkpoint that speed is counted from
ALWAYS = ("certify=false", "patience=0", f"checkpoint_every={FIRST}")  # settings


def train(ranks: int, *arguments: object) -> None:
    """A training by so many processes, each with one thread."""
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", ranks, "-m", "gipo_cli")
    command = [sys.executable, *torchrun, "train", *arguments, "--device", "cpu", "--quiet", "--set", "threads=1"]
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)


def updates_per_second(run: Path, steps: int) -> float:
    """From the checkpoint of step FIRST to the last."""
    first, last = (run / f"checkpoints/step-{step:08d}" for step in (FIRST, steps))
    return (steps - FIRST) / ((last / "MANIFEST.json").stat().st_mtime - (first / "MANIFEST.json").stat().st_mtime)


def policy(run: Path, steps: int) -> dict[str, np.ndarray]:
    """The last checkpoint's parameters by name."""
    return load_file(run / f"checkpoints/step-{steps:08d}/policy.safetensors")


def contents(run: Path) -> list[bytes]:
    """Every byte that two trainings are to have in common."""
    files = [run / "metrics.jsonl", run / "log_ratios.npz", *sorted(run.glob("checkpoints/*/*"))]
    return [path.read_bytes() for path in files]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[256, 8192])
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4])
    given = parser.parse_args()
    settings = ["--steps", given.steps, *(part for setting in ALWAYS for part in ("--set", setting))]
    print("| batch | ranks | ESS fraction | KL | surrogate | parameters apart | same bytes twice | updates/s |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as directory:
        start = Path(directory) / "start"
        train(1, "--dataset", given.dataset, "--out", start, "--steps", 1, "--set", "certify=false")
        for batch in given.batch_sizes:
            one: dict[str, np.ndarray] = {}
            for ranks in given.ranks:
                runs = [Path(directory) / f"{batch}-{ranks}-{n}" for n in range(2)]
                for run in runs:
                    train(
                        ranks, "--dataset", given.dataset, "--out", run, "--reuse", start,
                        *settings, "--set", f"batch_size={batch}",
                    )  # fmt: skip
                found = policy(runs[0], given.steps)
                one = one or found
                apart = max(np.abs(found[name] - one[name]).max() / (np.abs(one[name]).max() or 1.0) for name in one)
                held_out = json.loads((runs[0] / "run.json").read_text())["held_out"]
                figures = " | ".join(f"{held_out[name]:.6f}" for name in ("ess_fraction", "kl", "surrogate"))
                same = "yes" if contents(runs[0]) == contents(runs[1]) else "no"
                rate = max(updates_per_second(run, given.steps) for run in runs)
                print(f"| {batch:,} | {ranks} | {figures} | {apart:.1e} | {same} | {rate:.3g} |", flush=True)


if __name__ == "__main__":
    main()
