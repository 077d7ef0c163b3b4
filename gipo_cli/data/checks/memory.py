"""What the checks of log-probs found, from the cache: fitting their clones takes seconds, however small the log is."""

import functools
import hashlib
from collections.abc import Callable
from dataclasses import asdict, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any, get_args

from gipo_cli import __version__
from gipo_cli.data import cache
from gipo_cli.data.findings import Finding, Severity
from gipo_cli.data.trajectories import Trajectories

KIND = "checks"
# Whose text decides what is found, from this file's package on: no version that a change could forget to raise.
SOURCES = ("data/checks/*.py", "data/log_prob_errors.py", "data/selection.py", "policies/*.py", "pieces.py")
NAMES = {field.name for field in fields(Finding)}


def remembered(log: Trajectories, find: Callable[[], list[Finding]]) -> list[Finding]:
    """What `find` finds of the log, or found of one with the same numbers, with the same program.

    A log that carries its policy is looked at anew, which is quick. The cache may be lost, damaged or somebody else's:
    that costs time, and what it may say is checked to be findings.
    """
    if log.behaviour_weights is not None and log.log_probs_origin == "recorded":
        return find()

    def made() -> list[dict[str, Any]]:
        return [asdict(finding) | {"value": float(finding.value)} for finding in find()]

    found = cache.cached_document(KIND, f"{log.fingerprint} {_program()}", made, _are_findings)
    return [Finding(**values) for values in found]


def _are_findings(document: Any) -> bool:
    return isinstance(document, list) and all(map(_is_finding, document))


def _is_finding(values: Any) -> bool:
    return (
        isinstance(values, dict)
        and values.keys() == NAMES
        and isinstance(values["value"], float)
        and values["severity"] in get_args(Severity)
        and all(isinstance(values[name], str) for name in NAMES - {"value"})
    )


@functools.cache
def _program() -> str:
    """A name for what computes the outcome: this program's text, and the versions of what it computes with."""
    package = Path(__file__).parents[2]
    digest = hashlib.sha256()
    for path in sorted(path for pattern in SOURCES for path in package.glob(pattern)):
        digest.update(path.read_bytes())
    return f"{__version__} {digest.hexdigest()} torch {version('torch')} numpy {version('numpy')}"
