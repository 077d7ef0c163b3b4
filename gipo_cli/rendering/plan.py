"""What `gipo train --dry-run` prints."""

from pathlib import Path

from gipo_cli.config import TrainConfig
from gipo_cli.data.trajectories import Trajectories
from gipo_cli.rendering import terminal


def show_plan(
    config: TrainConfig, log: Trajectories, place: Path, device: str, step: int | None, as_json: bool
) -> None:
    """Print the log and every setting of a run that is not begun, or not gone on with from `step`."""
    plan = {
        "run": str(place),
        "status": "dry run",
        "step": step or 0,
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
    where = f"into {place}" if step is None else f"from step {step:,} of {place}"
    terminal.line(f"Would train on {log.name} ({log.transitions:,} steps, {log.episodes:,} episodes) {where}.")
    settings = {**config.to_dict(), **config.settings, **config.advantage_settings}
    del settings["settings"], settings["advantage_settings"]
    terminal.table("", ["setting", "value"], [[name, str(value)] for name, value in settings.items()])
