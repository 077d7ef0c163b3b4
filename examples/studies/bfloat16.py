"""What bfloat16 would do to importance ratios: log ratios of the behaviour policy to itself, which are 0.

python examples/studies/bfloat16.py hopper-medium
"""

import sys

import torch

from gipo_cli.data import catalog
from gipo_cli.policies.weights import policy_from_weights
from gipo_cli.training.samples import to_samples

EVERY = 5  # one row in so many is looked at


@torch.no_grad()
def main(dataset: str) -> None:
    """Print the errors in nats: mean, 99th percentile, largest."""
    log = catalog.load(dataset)
    assert log.behaviour_weights is not None, f"{dataset} does not carry its policy"
    samples, beta = to_samples(log, 0.1, 0, torch.device("cpu")), policy_from_weights(log.behaviour_weights, dataset)
    rows = torch.arange(0, log.transitions, EVERY)
    for name in ("float32", "bfloat16"):
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=name == "bfloat16"):
            error = samples.log_ratio(beta, rows).double().abs()
        print(f"{name}: mean {error.mean():.2g}, 99 % below {error.quantile(0.99):.2g}, largest {error.max():.2g}")


if __name__ == "__main__":
    main(*sys.argv[1:])
