"""How far estimated log-probs are from the recorded ones: take a log's away, estimate them, compare.

python examples/studies/estimated_log_probs.py hopper-medium
"""

import sys
from dataclasses import replace

import numpy as np

from gipo_cli.data import catalog
from gipo_cli.training.estimation import estimate_behaviour


def main(dataset: str) -> None:
    """Print the figures that a user sees, and those that only the truth tells."""
    log = catalog.load(dataset)
    nothing = np.full(log.transitions, np.nan, np.float32)
    bare = replace(log, behaviour_log_probs=nothing, behaviour_weights=None, log_probs_origin="none")
    estimated, figures = estimate_behaviour(bare, seed=0)
    off = log.behaviour_log_probs.astype(np.float64) - estimated.behaviour_log_probs
    weight = np.exp(-off)
    print(f"held-out -log q {figures['held_out_nll']:.3f} nats, {figures['gap']:.3f} above that of steps seen")
    print(f"log beta - log q: mean {off.mean():.3f} nats, standard deviation {off.std():.3f}")
    print(f"effective share of the steps under q / beta: {weight.sum() ** 2 / (weight**2).sum() / len(weight):.3f}")


if __name__ == "__main__":
    main(sys.argv[1])
