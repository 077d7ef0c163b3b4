"""The matrix products of one update and nothing else: no update that has torch make them is faster.

Another library's may be: JAX's are, a little, where batches are large.
"""

from itertools import pairwise

from tests.benchmarks.comparison import Subject
from tests.benchmarks.made_up import ACTION, HIDDEN, OBSERVATION

SIZES = (OBSERVATION, *HIDDEN, 2 * ACTION)  # mean and log standard deviation as one last layer


def flops(batch: int) -> int:
    """Floating-point operations of one update: forward, gradients of the weights, and of all inputs but the first."""
    products = [2 * batch * fan_in * fan_out for fan_in, fan_out in pairwise(SIZES)]
    return 3 * sum(products) - products[0]


def updates(batch: int) -> Subject:
    """In float32, into memory that is there already."""
    import torch

    values = [torch.randn(batch, size) for size in SIZES]
    weights = [torch.randn(fan_out, fan_in) for fan_in, fan_out in pairwise(SIZES)]
    outputs = [torch.empty(batch, size) for size in SIZES]
    gradients = [torch.empty_like(weight) for weight in weights]

    def update(times: int) -> None:
        for _ in range(times):
            for i, weight in enumerate(weights):
                torch.mm(values[i], weight.T, out=outputs[i + 1])
            for i, weight in reversed(list(enumerate(weights))):
                torch.mm(values[i + 1].T, values[i], out=gradients[i])
                if i:
                    torch.mm(values[i + 1], weight, out=outputs[i])

    return Subject(update)
