"""The errors a user can cause, each with the exit code that scripts rely on."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from enum import IntEnum

LONGEST = 2000  # characters of a message


class ExitCode(IntEnum):
    """What `gipo` returns to the shell."""

    DONE = 0
    BUG = 1
    USAGE = 2
    DATA = 3
    GATE = 4
    DIVERGED = 5
    BATCH = 6
    INTERRUPTED = 130
    TERMINATED = 143


class GipoError(Exception):
    """Something a person can mend: what is wrong and where, and in `hint` what to do about it.

    Only the command line's boundary turns one into text and an exit code; any other exception is our bug and
    keeps its traceback.
    """

    exit_code: int = ExitCode.BUG

    def __init__(self, message: str, hint: str = "") -> None:
        # Names and texts in it may be a stranger's, of any length.
        self.message, self.hint = (text if len(text) <= LONGEST else f"{text[:LONGEST]}..." for text in (message, hint))
        super().__init__(self.message)


class SettingError(GipoError):
    """A flag, a configuration file or a setting is wrong."""

    exit_code = ExitCode.USAGE


class DataError(GipoError):
    """A dataset is missing, damaged, unsupported or not to be trusted."""

    exit_code = ExitCode.DATA


class RunError(GipoError):
    """A run directory or a checkpoint is missing, damaged or not the one it claims to be."""

    exit_code = ExitCode.DATA


class DivergedError(GipoError):
    """Training met a number that is not finite."""

    exit_code = ExitCode.DIVERGED


class BatchError(GipoError):
    """Some jobs of a batch did not finish."""

    exit_code = ExitCode.BATCH


class InterruptedRun(GipoError):
    """A signal stopped the run after it saved a checkpoint."""

    exit_code: int = ExitCode.INTERRUPTED

    def __init__(self, message: str, hint: str = "", exit_code: int = ExitCode.INTERRUPTED) -> None:
        super().__init__(message, hint)
        self.exit_code = exit_code


class OutOfTime(InterruptedRun):
    """The time that --max-time gave has passed, or would before the next checkpoint; not a failure unless asked."""


class RankLost(GipoError):
    """One of the processes that train a policy together is gone: killed, out of memory, or its machine is."""

    exit_code = ExitCode.TERMINATED

    def __init__(self, ranks: Sequence[int], size: int) -> None:
        which = f"rank {ranks[0]}" if len(ranks) == 1 else f"ranks {', '.join(map(str, ranks))}"
        super().__init__(
            f"{which} of {size} died; the others cannot go on without it.", "Start the same torchrun command again."
        )
        self.ranks = ranks


def brief(error: BaseException, most: int = 200) -> str:
    """What a library says of a failure, on one line that is no longer than a person reads.

    Some of them quote the file, of which a stranger wrote every byte.
    """
    said = " ".join(str(error).split()) or type(error).__name__
    return said if len(said) <= most else f"{said[:most]}..."


def unknown_name(kind: str, name: str, known: Iterable[str]) -> SettingError:
    """An error for a name that does not exist, with the nearest one that does."""
    known = list(known)
    near = get_close_matches(name, known, n=1)
    hint = f"Did you mean '{near[0]}'?" if near else f"Choose one of: {', '.join(known)}."
    return SettingError(f"there is no {kind} '{name}'.", hint)
