"""A batch in pieces that threads share out: the pieces are fixed, so the numbers are, however many threads there are.

torch's own threads split every matrix product and wait for one another at each; beside other work one of them is
often without a processor, and all wait. Here a thread does a whole piece, torch's own stay at one, and sums over the
pieces are formed in one order. A piece of 512 rows and 256 hidden units fits a core's own cache.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn

ROWS = 512  # of a piece
_threads: ThreadPoolExecutor | None = None  # of `sharing`; none: pieces are done one after the other

T = TypeVar("T")
R = TypeVar("R")


def pieces(rows: Tensor, size: int = ROWS) -> tuple[Tensor, ...]:
    """Neighbouring rows in so few parts that none has more than `size`, on the CPU; all of them in one on a GPU."""
    return rows.tensor_split(max(1, -(-len(rows) // size))) if rows.device.type == "cpu" else (rows,)


def each(work: Callable[[T], R], parts: Iterable[T]) -> list[R]:
    """What `work` makes of each part, in order; several at once within `sharing`.

    The parts must not write where another one reads, `.grad` included: see `differentiate`.
    """
    parts = list(parts)
    if _threads is None or len(parts) == 1:
        return [work(part) for part in parts]
    graph = torch.is_grad_enabled()

    def work_as_here(part: T) -> R:  # whether gradients are wanted is a thread's own affair
        with torch.set_grad_enabled(graph):
            return work(part)

    return list(_threads.map(work_as_here, parts))


def differentiate(parameters: Sequence[nn.Parameter], loss: Callable[[T], Tensor], parts: Iterable[T]) -> None:
    """Put the gradient of the sum of the parts' losses in place of every parameter's `.grad`.

    Args:
        parameters: on each of which the loss of each part depends.
        loss: of a part, a scalar.
        parts: as of `each`.
    """
    gradients = each(lambda part: torch.autograd.grad(loss(part), parameters), parts)
    for parameter, of_parts in zip(parameters, zip(*gradients, strict=True), strict=True):
        # Of a narrow layer it is a transposed view, and a fused optimizer reads memory, not strides.
        parameter.grad = total(of_parts).contiguous()


@contextmanager
def sharing(threads: int) -> Iterator[None]:
    """Share pieces out among so many threads, 0 for as many as there are cores, with one thread of torch's in each."""
    global _threads
    outer, torchs = _threads, torch.get_num_threads()
    torch.set_num_threads(1)
    wanted = threads or cores()
    try:
        with ThreadPoolExecutor(wanted, "piece", torch.set_num_threads, (1,)) as pool:
            _threads = pool if wanted > 1 else None
            yield
    finally:
        _threads = outer
        torch.set_num_threads(torchs)


def cores() -> int:
    """Cores that this process may use; fewer where OMP_NUM_THREADS says so, as for the jobs of a batch."""
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    told = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(there, int(told))) if told.isdigit() else there


def total(parts: Iterable[Tensor]) -> Tensor:
    """The sum of tensors of one shape, in their order."""
    first, *rest = parts
    for part in rest:
        first = first + part
    return first
