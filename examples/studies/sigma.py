"""How far the policy goes for each sigma, with nothing else holding it: GIPO's width as an implicit constraint.

    python examples/studies/sigma.py hopper-medium > examples/studies/sigma.md

The anchor that steers KL is off (kl_target 0), as is the certificate. Five widths and No-Clip, three seeds each, last
checkpoint; figures are of the held-out episodes. A quarter of an hour on one core.
What its last paragraph says was written by hand, from the table.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

SIGMAS = (0.125, 0.25, 0.5, 1.0, 2.0)
SEEDS = (0, 1, 2)
FREE = ("--set", "kl_target=0", "--set", "certify=false")
# Two-sided 95 % quantile of Student's t for two degrees of freedom.
T = 4.303


def trained(dataset: str, objective: tuple[str, ...], seed: int) -> dict[str, float]:
    """Train once and return the held-out figures."""
    with tempfile.TemporaryDirectory() as place:
        command = [sys.executable, "-m", "gipo_cli", "train", "--dataset", dataset, "--seed", str(seed), *objective]
        done = subprocess.run(
            [*command, *FREE, "--out", str(Path(place, "run")), "--json", "--quiet"], capture_output=True, check=True
        )
    return json.loads(done.stdout)["held_out"]


def main(dataset: str) -> None:
    """Print the table as Markdown."""
    print(f"# KL and ESS by sigma on {dataset}\n")
    print(f"`python examples/studies/sigma.py {dataset}`; mean of {len(SEEDS)} seeds ± half of its 95 % interval.\n")
    print("| objective | KL(beta to pi), nats | KL / sigma^2 | ESS of raw ratios | surrogate |")
    print("|---|---|---|---|---|")
    widths = [(f"gipo, sigma {s:g}", ("--sigma", str(s)), s) for s in SIGMAS]
    for name, objective, sigma in [*widths, ("no-clip", ("--objective", "no-clip"), None)]:
        found = [trained(dataset, objective, seed) for seed in SEEDS]
        cells = [_interval([f[key] for f in found]) for key in ("kl", "ess_fraction", "surrogate")]
        per_square = "–" if sigma is None else f"{np.mean([f['kl'] for f in found]) / sigma**2:.2f}"
        print(f"| {name} | {cells[0]} | {per_square} | {cells[1]} | {cells[2]} |", flush=True)


def _interval(values: list[float]) -> str:
    return f"{np.mean(values):.3f} ± {T * np.std(values, ddof=1) / len(values) ** 0.5:.3f}"


if __name__ == "__main__":
    main(sys.argv[1])
