"""Pages of mapped columns leave memory again, and the numbers stay."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from gipo_cli.data import resident
from gipo_cli.data.cache import filled, scratch

MIB = 2**20
needs_proc = pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="what is resident is read from /proc")


@pytest.fixture(autouse=True)
def mapped(tmp_path, monkeypatch):
    monkeypatch.setenv("GIPO_CACHE", str(tmp_path))
    monkeypatch.setenv("GIPO_COLUMN_MEMORY", "1000")
    monkeypatch.setattr(resident, "RESIDENT", 4 * MIB)


def counted(column):
    for start in range(0, len(column), 2**16):
        column[start : start + 2**16] = np.arange(start, min(start + 2**16, len(column)))
        resident.trim()


@needs_proc
def test_a_walk_through_a_column_leaves_little_of_it_in_memory(tmp_path):
    (tmp_path / "log").touch()
    size = 8 * MIB  # numbers, 64 MiB
    before = resident._mapped_bytes()
    column = filled(tmp_path / "log", "column", (size,), np.dtype(np.int64), counted)
    again = scratch((size,), np.dtype(np.int64))
    most = 0
    for start, block in resident.blocks(column):
        again[start : start + len(block)] = block
        most = max(most, resident._mapped_bytes() - before)
    # What is allowed, and twice the block of 0.5 MiB with the pages that the kernel maps around it.
    assert 2 * MIB < most < 8 * MIB
    resident.trim()
    assert int(again.sum()) == size * (size - 1) // 2
    assert resident._mapped_bytes() - before > 48 * MIB  # a look at all of it without a trim is what that is about


def test_what_was_written_stays_when_its_pages_go():
    column = scratch((MIB,), np.dtype(np.int64))
    assert isinstance(column, np.memmap)
    counted(column)
    resident.trim()
    np.testing.assert_array_equal(column, np.arange(MIB))


def test_a_scratch_column_has_no_name_in_the_cache(tmp_path):
    column = scratch((MIB,), np.dtype(np.float32))
    assert isinstance(column, np.memmap)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not isinstance(scratch((4,), np.dtype(np.float32)), np.memmap)


def kept(cache):
    """Logs by the columns that the cache holds of them, by how many states of each."""
    found = {path.read_text(): path.parent for path in cache.glob("columns/*/source")}
    return {Path(name).name: len([*place.glob("*/*.npy")]) for name, place in found.items()}


def column_of(log, fill=counted):
    return filled(log, "column", (MIB,), np.dtype(np.int64), fill)


def test_the_cache_keeps_columns_of_logs_as_they_are_and_of_no_others(tmp_path):
    stays, changes, goes = (tmp_path / name for name in ("stays", "changes", "goes"))
    for log in (stays, changes, goes):
        log.touch()
        column_of(log)
    assert kept(tmp_path) == {"stays": 1, "changes": 1, "goes": 1}
    column_of(stays, pytest.fail)  # is there, and is not made again
    before = column_of(changes)
    goes.unlink()
    changes.write_text("more")
    after = column_of(changes)
    assert kept(tmp_path) == {"stays": 1, "changes": 1}
    np.testing.assert_array_equal(before, after)  # who has it open keeps it


def test_a_column_is_read_to_its_end_though_the_log_changes_meanwhile(tmp_path):
    log = tmp_path / "log"
    log.touch()

    def fill(column):
        counted(column)
        shutil.rmtree(tmp_path / "columns")  # what another process does that opens the log as it is now

    np.testing.assert_array_equal(column_of(log, fill), np.arange(MIB))
