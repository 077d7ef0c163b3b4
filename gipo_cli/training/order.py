"""Which rows each step trains on: a pure function of (seed, step), so a resumed run goes on where it stopped."""

import numpy as np
import torch
from torch import Tensor


def generator(seed: int, *purpose: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator of its own for one purpose, independent of every other (seed, purpose)."""
    state = np.random.SeedSequence((seed, *purpose)).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(state >> np.uint64(1)))


class ShuffledRows:
    """Batches of `rows` in an order shuffled anew each epoch.

    `batch(step)` gives the same rows whenever it is asked: the shuffle of an epoch depends on (seed, epoch) alone. The
    rows that do not fill a batch at an epoch's end sit that epoch out.
    """

    def __init__(self, rows: Tensor, batch_size: int, seed: int, purpose: int) -> None:
        self.rows, self.seed, self.purpose = rows, seed, purpose
        self.batch_size = min(batch_size, len(rows))
        self.batches_per_epoch = len(rows) // self.batch_size
        self._epoch, self._shuffled = -1, rows

    def batch(self, step: int) -> Tensor:
        """The rows of update number `step`, counted from 0."""
        epoch, place = divmod(step, self.batches_per_epoch)
        if epoch != self._epoch:
            shuffle = torch.randperm(len(self.rows), generator=generator(self.seed, self.purpose, epoch))
            self._epoch, self._shuffled = epoch, self.rows[shuffle.to(self.rows.device)]
        return self._shuffled[place * self.batch_size : (place + 1) * self.batch_size]
