"""An update of our own with the losses of a batch, forward and backward, made by a compiler."""

from collections.abc import Callable
from unittest.mock import patch

from tests.benchmarks.comparison import Subject


def under_torch_compile(subject: Subject) -> Subject:
    """The same, after one update: what compiling takes is not counted.

    Raises:
        ImportError: there is no C++ compiler.
    """
    import torch
    from torch._inductor.exc import InductorError

    from gipo_cli.training.update import Batch

    losses: Callable[..., object] = torch.compile(Batch.losses, dynamic=False)

    def work(times: int) -> None:
        with patch.object(Batch, "losses", losses):
            subject.work(times)

    try:
        work(1)
    except InductorError as error:
        raise ImportError(f"torch.compile: {error}") from error
    return Subject(work)
