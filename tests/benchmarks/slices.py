"""CPU time of one policy asked about a log, by the rows of a slice: why `policies/slices.py` has the number it has.

python -m tests.benchmarks.slices
"""

import time

import torch

from gipo_cli.policies.policy import Policy, PolicySpec
from gipo_cli.policies.slices import ROWS

LOG = 100_000  # rows
SIZES = (65536, 16384, 8192, 4096, 2048, 1024, 512, 256)
SHAPES = ((11, 3, (256, 256)), (17, 6, (256, 256)), (4, 2, (64, 64)))  # observations, actions, hidden layers
REPEATS = 5


def main() -> None:
    """Print a line for each shape: the least CPU time of some repeats, by the rows of a slice."""
    torch.set_num_threads(1)
    for observations, actions, hidden in SHAPES:
        spec = PolicySpec(
            distribution="gaussian", observation_size=observations, action_size=actions, hidden_sizes=hidden
        )
        policy, log = Policy(spec), torch.randn(LOG, observations)
        times = "  ".join(f"{size}{'*' * (size == ROWS)}: {_cpu(policy, log, size):.0f}" for size in SIZES)
        print(f"{observations} -> {hidden} -> {actions}, ms of CPU   {times}")


@torch.no_grad()
def _cpu(policy: Policy, log: torch.Tensor, size: int) -> float:
    least = float("inf")
    for _ in range(REPEATS):
        began = time.process_time()
        for part in log.split(size):
            policy.mean_and_log_std(part)
        least = min(least, time.process_time() - began)
    return 1000 * least


if __name__ == "__main__":
    main()
