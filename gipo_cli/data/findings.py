"""What a check says: a name to look up, the evidence as a number, what it would do to training, and the repair."""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["ok", "warning", "error"]


@dataclass(frozen=True)
class Finding:
    """Something a person should know about a log. Errors stop training; warnings are shown and kept in run.json."""

    name: str
    severity: Severity
    value: float  # the evidence
    meaning: str  # the evidence in a sentence
    effect: str = ""  # what training on the log as it stands would suffer
    repair: str = ""  # the name of a repair that mends it exactly; empty where nothing does
    hint: str = ""  # what to do where no repair is exact
