"""Open a log for use: read it, mend it as asked, find out where its log-probs come from, refuse what is wrong."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from gipo_cli.data import catalog, repairs
from gipo_cli.data.checks import check
from gipo_cli.data.findings import Finding
from gipo_cli.data.log_probs import no_log_probs
from gipo_cli.data.options import LogOptions
from gipo_cli.data.trajectories import Trajectories
from gipo_cli.errors import DataError, SettingError

Progress = Callable[[str, int], AbstractContextManager[Callable[..., None]]]


UNTRAINABLE = ("choices", "length", "shape", "type")  # errors that no one can take for a warning: nothing fits


@dataclass(frozen=True)
class Opened:
    """A log that may be trained on, and what is doubtful about it."""

    log: Trajectories
    findings: list[Finding]  # warnings, and errors that were accepted
    estimate: dict[str, Any] | None = None  # figures of the clone that estimated the log-probs


def open_log(dataset: str, options: LogOptions | None = None, progress: Progress | None = None) -> Opened:
    """Read a log, mend it as asked, and refuse one that cannot be trained on; what is merely doubtful comes with it.

    Raises:
        SettingError, DataError: as `catalog.load`; the log has no log-probs; a repair cannot be applied; or a check
            found an error that was not accepted.
    """
    options = options or LogOptions()
    log, estimate = prepare(dataset, options, progress)
    if log.log_probs_origin == "none":
        raise no_log_probs(log)
    findings = [finding for finding in check(log) if finding.severity != "ok"]
    for finding in findings:
        if finding.severity == "error" and (finding.name not in options.accept or finding.name in UNTRAINABLE):
            raise refusal(log, finding, dataset, options.accept)
    return Opened(log, findings, estimate)


def prepare(
    dataset: str, options: LogOptions, progress: Progress | None = None
) -> tuple[Trajectories, dict[str, Any] | None]:
    """Read a log and do to it what the options ask for: repairs, then exact or estimated log-probs. Not checked.

    Raises:
        SettingError, DataError: as `open_log`, but for the checks.
    """
    log = repairs.apply(catalog.load(dataset, options), options.repair)
    if options.behaviour:
        from gipo_cli.policies.recompute import recompute
        from gipo_cli.policies.weights import weights_of
        from gipo_cli.training.saved_policies import load

        if options.estimate_behaviour:
            raise SettingError(
                "--behaviour computes the log-probs exactly, --estimate-behaviour guesses them.", "Give one of them."
            )
        policy = load(Path(options.behaviour)).policy
        return replace(recompute(log, policy), behaviour_weights=weights_of(policy)), None
    if not options.estimate_behaviour:
        return log, None
    if log.log_probs_origin != "none":
        raise SettingError(
            f"{log.name} has recorded log-probs; --estimate-behaviour would replace exact ratios by guesses.",
            "Leave it out. Are they wrong? `gipo datasets check` says how, and which --repair mends them.",
        )
    from gipo_cli.training.estimation import estimate_behaviour

    return estimate_behaviour(log, options.seed, progress)


def refusal(log: Trajectories, finding: Finding, dataset: str, accepted: tuple[str, ...] = ()) -> DataError:
    """The error for a log with an error in it: the evidence, what it would do, and what mends it."""
    mend = f"It can be mended exactly: --repair {finding.repair}" if finding.repair else ""
    near = get_close_matches(finding.name, accepted, n=1, cutoff=0.8)
    lines = (
        finding.effect and f"Trained on as it is: {finding.effect}",
        mend,
        finding.hint,
        f"--accept {near[0]} is not its name." if near else "",
        "" if finding.name in UNTRAINABLE else f"If you know better: --accept {finding.name}",
        f"All that is known of it: gipo datasets check {dataset}",
    )
    return DataError(f"{log.name}: {finding.meaning} [{finding.name}]", "\n".join(line for line in lines if line))
