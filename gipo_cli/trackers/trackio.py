"""Metrics to trackio, which keeps them on this machine, or in the Space of Hugging Face that TRACKIO_SPACE_ID names."""

from importlib import import_module
from typing import Any

from gipo_cli.runs import RunDirectory
from gipo_cli.trackers import PROJECT
from gipo_cli.trackers.hosted import Hosted, identity

trackio: Any = import_module("trackio")  # the extra


def open_tracker(run: RunDirectory, config: dict[str, Any]) -> Hosted:
    """A run of the name of the directory; a resumed one goes on in the same."""
    trackio.init(project=PROJECT, name=f"{run.path.name}-{identity(run)}", resume="allow", config=config)
    return Hosted(trackio.log, trackio.finish)
