"""What a policy says of a whole log, asked for a slice of its rows at a time."""

from collections.abc import Callable

import torch
from torch import Tensor

from gipo_cli.data.resident import trimmed

# Hidden layers of 256 units are 2 MiB then, and stay in the CPU's cache: at 65,536 rows, where they leave it, the same
# numbers take up to twice the CPU time (python -m tests.benchmarks.slices). Fewer rows cost small networks more.
ROWS = 2048


def sliced(say: Callable[[Tensor], Tensor], rows: Tensor) -> Tensor:
    """What `say` says of rows [N], [N, ...]: asked for ROWS at a time, so each row has to be answered by itself."""
    return torch.cat([trimmed(say(part)) for part in rows.split(ROWS)])
