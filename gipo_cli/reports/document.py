"""All that a run directory says, in one document: what `gipo report --format json` prints of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gipo_cli.config import TrainConfig
from gipo_cli.errors import RunError, SettingError
from gipo_cli.evaluation.run_evaluation import without_episodes
from gipo_cli.gates import Gate, judge
from gipo_cli.reports.weights import Inspected, inspect_run
from gipo_cli.runs import OFFLINE, RunDirectory

# What an older version did not write, in the order of the document.
DEFAULTS: dict[str, Any] = {"advantage": TrainConfig.advantage, "advantage_settings": {}, "ended_early": False}


@dataclass(frozen=True)
class RunReport:
    """A run's document, and what pictures of it are drawn from."""

    document: dict[str, Any]
    inspected: Inspected | None  # none where the run has no weights yet
    given: list[dict[str, Any]]  # what the gates found that the report was given
    problem: SettingError | None  # with one of those gates


def report_of(place: RunDirectory, gates: Sequence[Gate] = ()) -> RunReport:
    """Gather what a run directory holds; nothing is computed but statistics of its weights.

    Its keys are those of run.json, and: config, metrics (a line each report), inspection (as `gipo inspect-weights
    --json`; null with the reason in inspection_missing), evaluation and offline (as `gipo evaluate --json` and
    `--offline --json`, null where there was none) and gates: those that the training was given, then those given here.

    Args:
        place: the run.
        gates: judged over the document.

    Raises:
        RunError: the directory is damaged.
    """
    record, evaluation = place.record(), place.evaluation()
    by_the_log = place.evaluation(OFFLINE)
    inspected, missing = None, ""
    try:
        inspected = inspect_run(place)
    except RunError as error:
        missing = error.message
    document = {
        **DEFAULTS,
        **record,
        "run": str(place.path),
        "config": place.read_config(),
        "metrics": place.metrics(),
        "inspection": inspected.document if inspected else None,
        "inspection_missing": missing or None,
        "evaluation": without_episodes(evaluation) if evaluation else None,
        "offline": {**by_the_log["offline"], **{k: by_the_log[k] for k in ("step", "dataset", "log_probs")}}
        if by_the_log
        else None,
    }
    # Metrics are for drawing: a gate on held_out.kl means the run's, and not a report's.
    judged = {key: value for key, value in document.items() if key not in ("metrics", "gates")}
    given, problem = [], None
    try:
        given = judge(gates, judged, partial=not is_finished(document))
    except SettingError as error:
        problem = error
    document["gates"] = [*_gates(record.get("gates")), *given]
    return RunReport(document, inspected, given, problem)


def _gates(found: Any) -> list[dict[str, Any]]:
    """What a training found of its gates, as far as it is that."""
    listed = found if isinstance(found, list) else []
    return [gate for gate in listed if isinstance(gate, dict) and set(gate) == {"expression", "key", "value", "held"}]


def is_finished(document: dict[str, Any]) -> bool:
    """Whether training came to its end."""
    return document.get("status") == "finished"
