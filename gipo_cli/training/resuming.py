"""What has to hold for a run to go on, and how to say that it can."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gipo_cli.data.trajectories import Trajectories
from gipo_cli.errors import RankLost, RunError
from gipo_cli.runs import RunDirectory
from gipo_cli.training.checkpoints import load_latest


def require_same_log(run: RunDirectory, log: Trajectories) -> None:
    """Refuse to go on with another log than the one that the run began with.

    Raises:
        RunError: names both.
    """
    recorded = run.record().get("dataset", {}).get("fingerprint")
    if recorded != log.fingerprint:
        raise RunError(
            f"{run.path} was trained on another log: fingerprint {recorded}, that of {log.name} is {log.fingerprint}.",
            "Bring back the log that the run began with, or start a new run with --out.",
        )


@contextmanager
def resumable(place: Path) -> Iterator[None]:
    """Let the loss of a rank say how to go on from the newest checkpoint of the run."""
    try:
        yield
    except RankLost as lost:
        lost.hint = f"Continue under the same torchrun command with: gipo train --resume {place}"
        raise


def trained_by_other_ranks(place: Path, size: int) -> str:
    """What to know where another number of ranks goes on with a run than trained it so far; empty where it does not."""
    newest = load_latest(place)
    before = size if newest is None else newest.state.get("ranks", 1)
    if before == size:
        return ""
    many = f"{before} rank{'s' if before > 1 else ''}"
    return f"the run was trained by {many} and goes on with {size}: the same up to rounding, not the same bytes."
