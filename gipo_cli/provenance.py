"""Where a run comes from - its log, its settings, the software - as run.json tells whoever reads it later."""

import platform
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from gipo_cli import __version__
from gipo_cli.config import TrainConfig
from gipo_cli.logs import Opened
from gipo_cli.training.resuming import RUN_VERSION


def provenance(config: TrainConfig, opened: Opened) -> dict[str, Any]:
    """What a run begins its record with; times and results come later."""
    log = opened.log
    packages = ("torch", "numpy", "h5py", "gymnasium", "safetensors")
    return {
        "run_version": RUN_VERSION,
        "config": config.to_dict(),
        "dataset": {
            "name": log.name,
            "source": log.source,
            "fingerprint": log.fingerprint,
            "transitions": log.transitions,
            "episodes": log.episodes,
            "mean_return": float(log.episode_returns.mean()),
            "environment": log.environment,
            "convention": log.convention,
            "log_probs": log.log_probs_origin,
            "repairs": list(log.repairs),
            "notes": list(log.notes),
        },
        "estimate": opened.estimate,
        "warnings": [asdict(finding) for finding in opened.findings],
        "objective": config.objective,
        "settings": config.settings,
        "advantage": config.advantage,
        "advantage_settings": config.advantage_settings,
        "seed": config.seed,
        "versions": {"gipo": __version__, "python": platform.python_version()} | {p: version(p) for p in packages},
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }
