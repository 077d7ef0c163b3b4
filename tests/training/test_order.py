"""The order of rows: every row once, in windows of blocks where there are many, and the same whenever it is asked."""

import pytest
import torch

from gipo_cli.training import order
from gipo_cli.training.order import ShuffledRows, generator

BLOCK, WINDOW = 8, 64


@pytest.fixture
def small(monkeypatch):
    """Windows of 8 blocks of 8 rows."""
    monkeypatch.setattr(order, "BLOCK", BLOCK)
    monkeypatch.setattr(order, "WINDOW", WINDOW)


def epoch_of(shuffled, epoch=0):
    first = epoch * shuffled.batches_per_epoch
    return [shuffled.batch(first + k) for k in range(shuffled.batches_per_epoch)]


def test_a_short_log_has_the_order_that_it_always_had():
    rows = torch.arange(100, 150)
    shuffled = ShuffledRows(rows, 8, seed=3, purpose=1)
    whole = rows[torch.randperm(50, generator=generator(3, 1, 2))]
    assert torch.equal(torch.cat(epoch_of(shuffled, epoch=2)), whole[:48])


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(("rows", "batch"), [(1000, 16), (1024, 16), (777, 10), (300, 100)])
def test_an_epoch_of_many_rows_meets_each_once_but_for_the_remainders(rows, batch):
    numbers = torch.arange(rows) * 3
    shuffled = ShuffledRows(numbers, batch, seed=0, purpose=1)
    for epoch in (0, 1):
        seen = torch.cat(epoch_of(shuffled, epoch))
        assert len(seen) == len(seen.unique())
        windows = -(-rows // shuffled.window)
        assert rows - windows * batch < len(seen) <= rows
        assert set(seen.tolist()) <= set(numbers.tolist())
    assert not torch.equal(torch.cat(epoch_of(shuffled, 0)), torch.cat(epoch_of(shuffled, 1)))


@pytest.mark.usefixtures("small")
def test_a_batch_is_the_same_whenever_it_is_asked():
    rows = torch.arange(1000)
    first, second = (ShuffledRows(rows, 16, seed=0, purpose=1) for _ in range(2))
    forward = [first.batch(step) for step in range(150)]
    for step in reversed(range(150)):
        assert torch.equal(second.batch(step), forward[step])
    assert not torch.equal(ShuffledRows(rows, 16, seed=1, purpose=1).batch(0), forward[0])


@pytest.mark.usefixtures("small")
def test_the_batches_of_a_window_lie_in_as_many_stretches_as_it_has_blocks():
    shuffled = ShuffledRows(torch.arange(1024), 16, seed=0, purpose=1)
    for window in range(4):
        seen = torch.cat([shuffled.batch(window * shuffled.batches_per_window + k) for k in range(4)]).sort().values
        assert len(seen) == WINDOW
        breaks = int((seen.diff() != 1).sum())
        # Neighbouring blocks may both be there; a ring that is cut inside a block makes one more.
        assert 3 <= breaks + 1 <= WINDOW // BLOCK + 1


@pytest.mark.usefixtures("small")
def test_every_row_is_as_likely_as_any_other_to_come_first():
    """Over 2,000 epochs of 128 rows, the number of times that each row is in the first of 8 batches."""
    shuffled = ShuffledRows(torch.arange(128), 16, seed=0, purpose=1)
    counts = torch.zeros(128)
    for epoch in range(2000):
        counts[shuffled.batch(epoch * shuffled.batches_per_epoch)] += 1
    expected, spread = 2000 / 8, (2000 * 1 / 8 * 7 / 8) ** 0.5
    assert (counts - expected).abs().max() < 4.5 * spread  # one of 128 beyond has a chance of 1 in 1,000
