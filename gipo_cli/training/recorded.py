"""Updates on a GPU as one CUDA graph: recorded once and replayed for every batch, with nothing of Python in between.

The kernels of an update are so short that launching them one by one takes longer than they do. A graph fixes shapes
and addresses: what changes from one update to the next, rows and learning rate, is copied to where the graph reads it.
"""

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from gipo_cli.config import TrainConfig
from gipo_cli.objectives.traits import has_trait
from gipo_cli.training.state import Training
from gipo_cli.training.update import Batch, scheduled_rate, set_learning_rate, take_step, update

WARM_UP = 3  # times before recording: they make the optimizer's state, and the libraries' workspaces


class Recorded:
    """Work on tensors that stay where they are, replayed as a CUDA graph; done as it is where that cannot be had.

    That is on the CPU, and where the work makes the CPU wait for the GPU, which doing it WARM_UP times shows.
    """

    def __init__(self, work: Callable[[], object], wanted: bool) -> None:
        """Record nothing yet.

        Args:
            work: reads and writes the same tensors whenever it is called.
            wanted: false for a CPU.
        """
        self._work, self._usable, self._warm_ups = work, wanted, 0
        self._replay: Callable[[], object] | None = None

    def __call__(self) -> None:
        """Do the work once."""
        if not self._usable:
            self._work()
        elif self._warm_ups < WARM_UP:
            self._usable = not waits(self._work)
            self._warm_ups += 1
        else:
            if self._replay is None:
                self._replay = self._recorded()
            self._replay()

    def _recorded(self) -> Callable[[], object]:
        """What does the work from now on; recording it does nothing yet."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._work()
        return graph.replay


class RecordedUpdates:
    """`update`, recorded: anew where the advantages or the objective's settings, which a graph has fixed, change.

    Several ranks, which wait for one another, and the natural gradient's step, which looks at numbers to decide what to
    do, are not recorded.
    """

    def __init__(self, config: TrainConfig, device: torch.device) -> None:
        """Record nothing yet.

        Args:
            config: of the run.
            device: of the policy and the log.
        """
        self.config = config
        self._wanted = wants_recording(config, device)
        self._fixed: Any = None
        self._rows = self._found = torch.empty(0)
        self._step: Callable[[], object] = object

    def __call__(self, now: Training, batch: Batch) -> Tensor:
        """One update; returns what `update` does, in a tensor that the next one overwrites."""
        if not self._wanted or batch.ranks.size > 1 or has_trait(batch.objective, "natural"):
            return update(self.config, now, batch)
        fixed = (batch.advantage.data_ptr(), len(batch.rows), tuple(batch.settings.items()))
        if fixed != self._fixed:
            self._fixed = fixed
            self._prepare(now, batch)
        self._rows.copy_(batch.rows)
        set_learning_rate(now.optimizer, scheduled_rate(self.config, now.step))
        self._step()
        return self._found

    def _prepare(self, now: Training, batch: Batch) -> None:
        rows, found = batch.rows.clone(), torch.zeros(2, device=batch.rows.device)
        lasting = replace(batch, rows=rows)
        self._rows, self._found = rows, found
        self._step = Recorded(lambda: found.copy_(take_step(self.config, now, lasting)), self._wanted)


def wants_recording(config: TrainConfig, device: torch.device) -> bool:
    """Whether updates on that device are to be recorded."""
    return config.cuda_graph and device.type == "cuda"


def waits(work: Callable[[], object]) -> bool:
    """Do work on a stream of its own, as recording wants it; whether it makes the CPU wait for the GPU."""
    before = torch.cuda.get_sync_debug_mode()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            work()
        finally:
            torch.cuda.set_sync_debug_mode(before)
    torch.cuda.current_stream().wait_stream(stream)
    return any("synchroniz" in str(warning.message) for warning in caught)
