"""One file per statistic of importance weights: numpy in, plain numbers and findings out.

Thresholds are named constants with their source beside them. Nothing here imports torch, and no statistic is ever
nan: what cannot be known raises ValueError with the reason.
"""

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "note", "warning", "alarm"]


@dataclass(frozen=True)
class Finding:
    """One number, how bad it is, what that means for a reader, and whose threshold says so."""

    name: str
    value: float | None  # None where it cannot be known; the meaning then says why
    level: Level
    meaning: str
    source: str
