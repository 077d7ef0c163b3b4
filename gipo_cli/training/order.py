"""Which rows each step trains on: a pure function of (seed, step), so a resumed run goes on where it stopped."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

BLOCK = 2**15  # rows that follow each other, read together
WINDOW = 2**5 * BLOCK  # rows that are shuffled together: 1,048,576


def generator(seed: int, *purpose: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator of its own for one purpose, independent of every other (seed, purpose)."""
    state = np.random.SeedSequence((seed, *purpose)).generate_state(1, np.uint64)[0]
    return torch.Generator(device).manual_seed(int(state >> np.uint64(1)))


class ShuffledRows:
    """Batches of `rows` in an order shuffled anew each epoch.

    `batch(step)` gives the same rows whenever it is asked: the shuffle of an epoch depends on (seed, epoch) alone. An
    epoch meets no row twice.

    Up to WINDOW rows, every order of them is equally likely. More are shuffled a window at a time, so that the rows of
    a thousand batches lie in 32 places and not in a million: each epoch lays the rows in a ring, cuts it at a place
    drawn anew into blocks of BLOCK, and takes the blocks in an order drawn anew, 32 to a window; within a window every
    order of its rows is equally likely. So each row is as likely as any other to be in a given batch, but for the
    remainder of the ring, a block shorter than BLOCK that comes in the last window; a batch is a uniform draw from its
    window without replacement, and a window is 32 random stretches of the log, not 1,048,576 random rows: means over
    two batches of one window differ by less than over two batches of the log, where episodes differ.

    The rows that do not fill a batch at a window's end sit that epoch out.
    """

    def __init__(self, rows: Tensor, batch_size: int, seed: int, purpose: int) -> None:
        self.rows, self.seed, self.purpose = rows, seed, purpose
        self.batch_size = min(batch_size, len(rows))
        self.window = WINDOW * math.ceil(self.batch_size / WINDOW)  # a whole number of blocks, and of use to any batch
        self.batches_per_window = self.window // self.batch_size
        windows, rest = divmod(len(rows), self.window)
        self.batches_per_epoch = windows * self.batches_per_window + rest // self.batch_size
        self._now, self._shuffled = (-1, -1), rows

    def batch(self, step: int) -> Tensor:
        """The rows of update number `step`, counted from 0."""
        return self.batches(step, 1)[0]

    def batches(self, step: int, count: int) -> Tensor:
        """The rows of `count` updates from number `step` on, [count, B]."""
        found = []
        while count:
            epoch, of_epoch = divmod(step, self.batches_per_epoch)
            window, place = divmod(of_epoch, self.batches_per_window)
            here = min(count, self.batches_per_epoch - of_epoch, self.batches_per_window - place)
            rows = self._window(epoch, window)[place * self.batch_size : (place + here) * self.batch_size]
            found.append(rows.view(here, self.batch_size))
            step, count = step + here, count - here
        return found[0] if len(found) == 1 else torch.cat(found)

    def _window(self, epoch: int, window: int) -> Tensor:
        if (epoch, window) != self._now:
            self._now = epoch, window
            self._shuffled = self._all(epoch) if len(self.rows) <= self.window else self._of_window(epoch, window)
        return self._shuffled

    def _all(self, epoch: int) -> Tensor:
        shuffle = torch.randperm(len(self.rows), generator=generator(self.seed, self.purpose, epoch))
        return self.rows[shuffle.to(self.rows.device)]

    def _of_window(self, epoch: int, window: int) -> Tensor:
        draw, count = generator(self.seed, self.purpose, epoch), len(self.rows)
        cut = torch.randint(count, (), generator=draw)
        whole = torch.randperm(count // BLOCK, generator=draw)
        first = window * (self.window // BLOCK)
        blocks = whole[first : first + self.window // BLOCK]
        places = (blocks[:, None] * BLOCK + torch.arange(BLOCK)).flatten()
        if (window + 1) * self.window > count:  # the last
            places = torch.cat([places, torch.arange(count // BLOCK * BLOCK, count)])
        shuffle = torch.randperm(len(places), generator=generator(self.seed, self.purpose, epoch, window))
        return self.rows[((places[shuffle] + cut) % count).to(self.rows.device)]


class RowsSideBySide:
    """The batches of K members, each in an order of its own; of several updates at a time, which costs them less."""

    def __init__(self, orders: Sequence[ShuffledRows], at_once: int = 32) -> None:
        """Put orders side by side.

        Args:
            orders: of the members, all with one size of batch.
            at_once: updates whose rows are looked up together.
        """
        self.orders, self.at_once = orders, at_once
        self._first, self._rows = 0, torch.empty(0)

    def batch(self, step: int) -> Tensor:
        """The rows of update number `step`, [K, B]."""
        if not self._first <= step < self._first + len(self._rows):
            self._first = step
            self._rows = torch.stack([order.batches(step, self.at_once) for order in self.orders], 1)
        return self._rows[step - self._first]
