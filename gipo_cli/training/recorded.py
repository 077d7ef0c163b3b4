"""Updates on a GPU as one CUDA graph: recorded once and replayed for every batch, with nothing of Python in between.

The kernels of an update are so short that launching them one by one takes longer than they do. A graph fixes shapes
and addresses: what changes from one update to the next, rows and learning rate, is copied to where the graph reads it.
"""

import warnings
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from gipo_cli.config import TrainConfig
from gipo_cli.objectives.traits import has_trait
from gipo_cli.training.state import Training
from gipo_cli.training.update import Batch, scheduled_rate, set_learning_rate, take_step, update

WARM_UP = 3  # updates before recording: they make the optimizer's state, and the libraries' workspaces


class RecordedUpdates:
    """`update` for a policy on a GPU; as it is where recording cannot be had.

    That is on the CPU, with several ranks, with the natural gradient's step, which looks at numbers to decide what to
    do, and with any objective that makes the CPU wait for the GPU, which the warm-up shows. What a graph has fixed
    beside shapes, the advantages and the objective's settings, makes a new recording where it changes.
    """

    def __init__(self, config: TrainConfig, device: torch.device) -> None:
        """Record nothing yet.

        Args:
            config: of the run.
            device: of the policy and the log.
        """
        self.config = config
        self._usable = config.cuda_graph and device.type == "cuda"
        self._warm_ups = 0
        self._fixed: Any = None
        self._graph: torch.cuda.CUDAGraph | None = None
        self._rows = self._found = torch.empty(0)

    def __call__(self, now: Training, batch: Batch) -> Tensor:
        """One update; returns what `update` does, in a tensor that the next one overwrites."""
        if not self._usable or batch.ranks.size > 1 or has_trait(batch.objective, "natural"):
            return update(self.config, now, batch)
        if self._warm_ups < WARM_UP:
            return self._warm_up(now, batch)
        fixed = (batch.advantage.data_ptr(), len(batch.rows), tuple(batch.settings.items()))
        if self._graph is None or fixed != self._fixed:
            self._record(now, batch)
            self._fixed = fixed
        assert self._graph is not None
        self._rows.copy_(batch.rows)
        set_learning_rate(now.optimizer, scheduled_rate(self.config, now.step))
        self._graph.replay()
        return self._found

    def _warm_up(self, now: Training, batch: Batch) -> Tensor:
        """An ordinary update on a stream of its own, as recording wants it; is it one that makes the CPU wait?"""
        self._warm_ups += 1
        before = torch.cuda.get_sync_debug_mode()
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        set_learning_rate(now.optimizer, scheduled_rate(self.config, now.step))
        with torch.cuda.stream(stream), warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                found = take_step(self.config, now, batch)
            finally:
                torch.cuda.set_sync_debug_mode(before)
        torch.cuda.current_stream().wait_stream(stream)
        self._usable = not any("synchroniz" in str(warning.message) for warning in caught)
        return found

    def _record(self, now: Training, batch: Batch) -> None:
        """Record an update of rows that are put in place before each replay; recording itself computes nothing."""
        self._graph = None  # its memory is given back before the next one takes some
        self._rows = batch.rows.clone()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._found = take_step(self.config, now, replace(batch, rows=self._rows))
        self._graph = graph
