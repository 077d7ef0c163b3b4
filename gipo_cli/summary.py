"""What `gipo train --json` prints of a run that ended, and the keys that a gate may name in it."""

from typing import TYPE_CHECKING, Any

from gipo_cli.config import TrainConfig

if TYPE_CHECKING:
    from gipo_cli.runs import RunDirectory

# Of the summary as `gates.flatten` has them, but for the settings of objective and advantage; a test holds them to it.
SUMMARY_KINDS: dict[str, type] = {
    **dict.fromkeys(
        (
            "run", "status", "dataset.name", "dataset.fingerprint", "dataset.log_probs", "dataset.environment",
            "objective", "advantage", "warm_start.kind", "certificate.reason", "certificate.kept",
            "certificate.last.reason",
        ),
        str,
    ),
    **dict.fromkeys(("ended_early", "certificate.certified", "certificate.last.certified"), bool),
    **dict.fromkeys(
        (
            "dataset.transitions", "dataset.episodes", "dataset.mean_return", "steps", "seconds", "warm_start.kl",
            "warm_start.behaviour_kl", "warm_start.version", "warm_start.versions", "critic.explained",
            "critic.explained_lower", "critic.explained_held_in", "certificate.explained_lower",
            "certificate.surrogate_lower", "certificate.ess_fraction", "certificate.level", "certificate.kept_step",
            "certificate.last.explained_lower", "certificate.last.surrogate_lower", "certificate.last.ess_fraction",
            "held_out.ess_fraction", "held_out.kl", "held_out.surrogate", "held_out.surrogate_lower",
        ),
        float,
    ),
}  # fmt: skip
SUMMARY = (
    "run", "status", "dataset", "objective", "settings", "advantage", "advantage_settings", "steps", "ended_early",
    "seconds", "warm_start", "critic", "certificate", "held_out",
)  # fmt: skip
DATASET_KEYS = ("name", "fingerprint", "transitions", "episodes", "log_probs", "environment", "mean_return")


def kinds(config: TrainConfig) -> dict[str, type]:
    """Every key of the summary that training will end with, so that a gate that means nothing costs no training."""
    settings = {f"settings.{name}": float for name in config.settings}
    return {**SUMMARY_KINDS, **settings, **{f"advantage_settings.{name}": float for name in config.advantage_settings}}


def summarise(
    config: TrainConfig, settings: dict[str, float], run: "RunDirectory", facts: dict[str, Any], seconds: float
) -> dict[str, Any]:
    """What a finished run comes to, from its directory and what training returned."""
    dataset, final = run.record()["dataset"], run.metrics()[-1]
    return {
        "run": str(run.path),
        "status": "finished",
        "dataset": {name: dataset[name] for name in DATASET_KEYS},
        "objective": config.objective,
        "settings": settings,
        "advantage": config.advantage,
        "advantage_settings": config.advantage_settings,
        "steps": final["step"],
        "ended_early": final["step"] < config.steps,
        "seconds": round(seconds, 1),
        **facts,
        "held_out": final["held_out"],
    }
