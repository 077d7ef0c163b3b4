"""How long a command may take: `gipo train --max-time 50m` ends with a checkpoint while there is time for one."""

import math
import re
import time
from dataclasses import dataclass, field

from gipo_cli.errors import SettingError

LENGTH = re.compile(r"(?P<alone>[\d.]+)|(?:(?P<h>[\d.]+)h)?(?:(?P<m>[\d.]+)m)?(?:(?P<s>[\d.]+)s)?")
SECONDS = {"h": 3600, "m": 60, "s": 1, "alone": 1}
MARGIN = 1.0  # seconds kept free for what is not measured: the last record, and the end of the process


@dataclass
class TimeLimit:
    """Wall time from the command's start, and how long the parts of training took so far.

    Without `given` there is no limit, and nothing is ever near.
    """

    given: str = ""  # as the user wrote it
    seconds: float = math.inf
    exit_code: int = 0
    began: float = field(default_factory=time.monotonic)
    _lap: float = field(default_factory=time.monotonic)
    _longest: dict[str, float] = field(default_factory=dict)

    @property
    def left(self) -> float:
        """Seconds that training may still take."""
        return self.seconds - MARGIN - (time.monotonic() - self.began)

    def lap(self, part: str = "") -> None:
        """The time since the lap before was spent on `part`; the longest such time is what it is expected to take."""
        now = time.monotonic()
        if part:
            self._longest[part] = max(now - self._lap, self._longest.get(part, 0.0))
        self._lap = now

    def is_near(self) -> bool:
        """Whether every part, once more each, would pass the limit."""
        return self.left < sum(self._longest.values())


def time_limit(given: str | None, exit_code: int | None, began: float | None = None) -> TimeLimit:
    """The limit that --max-time and --max-time-exit ask for; the time counts from `began`, which is now unless given.

    Raises:
        SettingError: the time is none, or the code is none, or given for nothing.
    """
    if given is None:
        if exit_code is not None:
            raise SettingError(
                "--max-time-exit is the exit code of a run that --max-time ends, and there is no --max-time.",
                f"Give both, as in --max-time 50m --max-time-exit {exit_code}.",
            )
        return TimeLimit()
    if exit_code is not None and not 0 <= exit_code <= 255:
        raise SettingError(f"--max-time-exit is {exit_code}; expected an exit code from 0 to 255.")
    return TimeLimit(given, _seconds(given), exit_code or 0, time.monotonic() if began is None else began)


def _seconds(given: str) -> float:
    found = LENGTH.fullmatch(given.strip())
    try:
        seconds = sum(float(found[unit]) * SECONDS[unit] for unit in SECONDS if found[unit]) if found else 0.0
    except ValueError:  # 1.2.3s
        seconds = 0.0
    if not seconds > 0:
        raise SettingError(
            f"--max-time {given!r} is no length of time.",
            "Write it as in --max-time 50m; or 90s, 1h30m, 2h, or seconds.",
        )
    return seconds
