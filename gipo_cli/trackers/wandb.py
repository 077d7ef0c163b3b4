"""Metrics to Weights & Biases; offline with WANDB_MODE=offline."""

from importlib import import_module
from typing import Any

from gipo_cli.runs import RunDirectory
from gipo_cli.trackers import PROJECT
from gipo_cli.trackers.hosted import Hosted, identity

wandb: Any = import_module("wandb")  # the extra


def open_tracker(run: RunDirectory, config: dict[str, Any]) -> Hosted:
    """A run of the name of the directory; a resumed one goes on in the same."""
    begun = wandb.init(
        project=PROJECT, name=run.path.name, id=identity(run), resume="allow", dir=str(run.path), config=config
    )
    return Hosted(begun.log, begun.finish)
