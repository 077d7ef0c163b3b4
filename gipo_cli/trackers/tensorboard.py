"""Metrics as TensorBoard's event files, in RUN/tensorboard."""

from typing import Any

from torch.utils.tensorboard import SummaryWriter  # imports tensorboard, the extra

from gipo_cli.runs import RunDirectory
from gipo_cli.training import checkpoints


class TensorBoard:
    """Scalars by dotted name, held_out/kl and so on."""

    def __init__(self, writer: SummaryWriter) -> None:
        self._writer = writer

    def log(self, step: int, figures: dict[str, float]) -> None:
        """Write the scalars of a step."""
        for name, value in figures.items():
            self._writer.add_scalar(name.replace(".", "/"), value, step)
        self._writer.flush()  # a killed process leaves what it had

    def close(self) -> None:
        """Close the file."""
        self._writer.close()


def open_tracker(run: RunDirectory, config: dict[str, Any]) -> TensorBoard:
    """A writer; what a resumed run does again replaces what it had written after its checkpoint."""
    newest = checkpoints.load_latest(run.path)
    purge = None if newest is None else newest.step + 1
    return TensorBoard(SummaryWriter(str(run.path / "tensorboard"), purge_step=purge))
