"""What the ranks other than the first do in a training."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from gipo_cli.config import TrainConfig
from gipo_cli.data.trajectories import Trajectories
from gipo_cli.errors import GipoError, RankLost
from gipo_cli.registry import ADVANTAGES, OBJECTIVES
from gipo_cli.runs import RunDirectory
from gipo_cli.training.distributed import Ranks
from gipo_cli.training.loop import fit
from gipo_cli.training.resuming import resumable


def give_a_share(config: TrainConfig, log: Trajectories, place: Path, device: torch.device, ranks: Ranks) -> None:
    """A rank's share of every update, of which nothing is seen or written.

    Raises:
        RankLost: another rank is gone. Where it was the first, which can no longer write what became of the run, the
            lowest of those that are left does.
    """
    objective, estimator = OBJECTIVES.load(config.objective), ADVANTAGES.load(config.advantage)
    try:
        with resumable(place):
            fit(config, objective, estimator, log, None, device, _unseen, ranks=ranks)
    except RankLost as lost:
        if 0 in lost.ranks and ranks.rank == min({*range(ranks.size)} - {*lost.ranks}):
            with suppress(GipoError), RunDirectory.open(place) as run:
                if run.record().get("status") == "running":  # else it is one that the first would have refused
                    run.update(status="failed", error=lost.message)
        raise


@contextmanager
def _unseen(name: str, total: int) -> Iterator[Callable[..., Any]]:
    yield lambda n=1, **figures: None
