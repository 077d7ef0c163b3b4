"""What `gipo train --dry-run` prints."""

from pathlib import Path

from gipo_cli.config import TrainConfig
from gipo_cli.data.trajectories import Trajectories
from gipo_cli.rendering import terminal


def show_plan(config: TrainConfig, log: Trajectories, place: Path, device: str, as_json: bool) -> None:
    """Print the log and every setting of a run that is not begun."""
    plan = {
        "run": str(place),
        "status": "dry run",
        "device": device,
        "dataset": {
            "name": log.name, "fingerprint": log.fingerprint, "transitions": log.transitions,
            "episodes": log.episodes, "log_probs": log.log_probs_origin,
        },
        "config": config.to_dict(),
    }  # fmt: skip
    if as_json:
        terminal.json_document(plan)
        return
    terminal.line(f"Would train on {log.name} ({log.transitions:,} steps, {log.episodes:,} episodes) into {place}.")
    settings = {**config.to_dict(), **config.settings, **config.advantage_settings}
    del settings["settings"], settings["advantage_settings"]
    terminal.table("", ["setting", "value"], [[name, str(value)] for name, value in settings.items()])
