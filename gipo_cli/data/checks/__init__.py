"""What is wrong with a log, before anything is trained on it: errors stop, warnings are shown and kept."""

import numpy as np

from gipo_cli.data.checks.memory import remembered
from gipo_cli.data.checks.structure import check_numbers, check_shapes, check_structure, duplicate_episodes
from gipo_cli.data.findings import Finding
from gipo_cli.data.selection import take_episodes
from gipo_cli.data.trajectories import Trajectories


def check(log: Trajectories) -> list[Finding]:
    """All findings on a log, errors first.

    What a later check would stumble over ends the list: nothing can be said of log-probs of actions that are not
    numbers. The log-probs are held against the behaviour policy where the log carries it, and against a clone of it
    where it does not (`checks/log_probs.py`); a log without any is checked for the rest.
    """
    for stage in (check_shapes, check_numbers):
        findings = stage(log)
        if findings:
            return findings
    findings = check_structure(log)
    if log.log_probs_origin != "none" and not any(f.severity == "error" for f in findings):
        findings += remembered(log, lambda: _check_log_probs(log, findings))
    return sorted(findings, key=lambda f: ("error", "warning", "ok").index(f.severity))


def _check_log_probs(log: Trajectories, findings: list[Finding]) -> list[Finding]:
    from gipo_cli.data.checks.log_probs import check_log_probs  # torch, which a remembered outcome does without

    # A clone must not be judged by episodes of which it has seen the copies.
    if any(finding.name == "duplicate-episodes" for finding in findings):
        log = take_episodes(log, np.flatnonzero(~duplicate_episodes(log)))
    return check_log_probs(log)
