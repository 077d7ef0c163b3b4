"""Open a log for use: read it, find out where its log-probs come from, check it, refuse what cannot be trained on."""

from dataclasses import dataclass

from gipo_cli.data import catalog
from gipo_cli.data.checks import Finding, check
from gipo_cli.data.log_probs import no_log_probs
from gipo_cli.data.options import LogOptions
from gipo_cli.data.trajectories import Trajectories


@dataclass(frozen=True)
class Opened:
    """A log that may be trained on, and what is doubtful about it."""

    log: Trajectories
    findings: list[Finding]


def open_log(dataset: str, options: LogOptions | None = None) -> Opened:
    """Read a log, mend it as asked, and refuse one that cannot be trained on; what is merely doubtful comes with it.

    Raises:
        SettingError, DataError: as `catalog.load`; or the log has no log-probs, or a check found an error.
    """
    options = options or LogOptions()
    log = catalog.load(dataset, options)
    if log.log_probs_origin == "none":
        raise no_log_probs(log)
    return Opened(log, check(log))
