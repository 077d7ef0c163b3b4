"""Columns in memory and mapped: the same numbers, and sums that do not lose digits."""

import numpy as np
import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from gipo_cli.data import resident
from gipo_cli.training import columns
from gipo_cli.training.columns import as_column, joined, mean, mean_and_std, rows_that, rows_where, spread, taken

CPU = torch.device("cpu")


@pytest.fixture(params=["memory", "mapped"])
def limit(request, tmp_path, monkeypatch):
    """Everything in memory, or everything mapped, a few rows at a time."""
    monkeypatch.setenv("GIPO_CACHE", str(tmp_path))
    monkeypatch.setenv("GIPO_COLUMN_MEMORY", str(2**40) if request.param == "memory" else "0")
    monkeypatch.setattr(columns, "CHUNK", 7)
    monkeypatch.setattr(resident, "RESIDENT", 0)


@pytest.mark.usefixtures("limit")
def test_a_column_is_the_logs_own_bytes_or_its_numbers_in_another_type():
    plain = np.random.default_rng(0).standard_normal((100, 3)).astype(np.float32)
    assert as_column(plain, np.float32, CPU).data_ptr() == plain.ctypes.data
    for other in (plain.astype(np.float64), plain[:, ::-1], np.asfortranarray(plain)):
        torch.testing.assert_close(as_column(other, np.float32, CPU), torch.as_tensor(other.astype(np.float32)))


@pytest.mark.usefixtures("limit")
@pytest.mark.parametrize("axis", [0, 1])
def test_parts_are_laid_end_to_end(axis):
    whole = torch.randn(20, 30, generator=torch.Generator().manual_seed(0))
    found = joined(whole.shape[axis], iter(whole.split(7, axis)), axis)
    assert torch.equal(found, whole)


@pytest.mark.usefixtures("limit")
def test_rows_are_those_where_a_mask_holds():
    mask = np.random.default_rng(0).random(2000) < 0.3
    found = rows_where(torch.as_tensor(mask))
    np.testing.assert_array_equal(found.numpy(), np.flatnonzero(mask))
    np.testing.assert_array_equal(rows_where(torch.as_tensor(mask), holds=False).numpy(), np.flatnonzero(~mask))
    other = torch.as_tensor(np.random.default_rng(1).random(2000) < 0.5)
    few = found[:100]
    assert torch.equal(rows_that(few, other), few[other[few]])
    assert len(rows_where(torch.zeros(5, dtype=torch.bool))) == 0


@pytest.mark.usefixtures("limit")
@pytest.mark.parametrize("axis", [0, 1])
def test_rows_that_lie_anywhere_are_those_rows_however_few_are_looked_at_together(axis, monkeypatch):
    draw = torch.Generator().manual_seed(0)
    whole = torch.randn((300, 3) if axis == 0 else (3, 300), generator=draw)
    rows = torch.randint(300, (50,), generator=draw)
    column = joined(300, iter(whole.split(7, axis)), axis)
    monkeypatch.setattr(columns, "LARGE", 100)
    monkeypatch.setattr(columns, "SCATTERED", 4)
    assert torch.equal(taken(column, rows, axis), whole[rows] if axis == 0 else whole[:, rows])
    stretches = rows[:6, None] // 2 + torch.arange(2)
    assert axis == 1 or torch.equal(taken(column, stretches), whole[stretches])


@pytest.mark.usefixtures("limit")
def test_mean_and_spread_of_many_rows_keep_their_digits_far_from_0(monkeypatch):
    column = torch.randn(5000, 2, generator=torch.Generator().manual_seed(0)) * 0.1 + 1000
    rows = torch.arange(0, 5000, 2)
    exact = column[rows].double()
    monkeypatch.setattr(columns, "LARGE", 100)
    found, spread = mean_and_std(column, rows)
    torch.testing.assert_close(found, exact.mean(0).float())
    torch.testing.assert_close(spread, exact.std(0).float())  # sums of squares about 0 would leave none of its digits
    torch.testing.assert_close(mean(column[:, 0]), column[:, 0].double().mean())
    found, spread = mean_and_std(column, correction=0)
    torch.testing.assert_close(found, column.double().mean(0).float())
    torch.testing.assert_close(spread, column.double().std(0, correction=0).float(), rtol=1e-5, atol=0)  # n - 1: 1e-4


@pytest.mark.usefixtures("limit")
def test_the_spread_of_many_rows_is_that_of_all_columns_together(monkeypatch):
    together = torch.randn(3, 5000, generator=torch.Generator().manual_seed(0)) + torch.tensor([[0.0], [1.0], [5.0]])
    rows = torch.arange(0, 5000, 2)
    exact = together[:, rows].double().std().float()
    torch.testing.assert_close(spread(together, rows), exact)
    monkeypatch.setattr(columns, "LARGE", 100)
    # n - 1 of each column in place of K n - 1 of all: one part in 2 n
    torch.testing.assert_close(spread(together, rows), exact, rtol=1 / len(rows), atol=0)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_few_rows_of_a_part_of_a_table_are_not_looked_up_in_a_copy_of_it(axis):
    table = torch.randn(5, 4000, generator=torch.Generator().manual_seed(0))[:, :3000]
    column, rows = (table.T if axis == 0 else table), torch.tensor([2999, 5, 17])
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        found = taken(column, rows, axis)
    assert torch.equal(found, table.T[rows] if axis == 0 else table[:, rows])
    # A copy has 60,000 bytes; what is asked for 60, and no allocation is below 64.
    assert max(each.self_cpu_memory_usage for each in watched.key_averages()) < 1000
