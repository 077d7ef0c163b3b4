"""Runs of more steps than memory takes: the same document, a block of rows at a time, columns mapped from a file."""

import json
import tracemalloc

import numpy as np
import pytest

from gipo_cli.data import npz, resident
from gipo_cli.diagnostics import columns, order_statistics
from gipo_cli.rendering import plots
from gipo_cli.reports.weights import inspect_run
from gipo_cli.runs import RunDirectory


def made_up(rows, largest, dimensions=3):
    """Columns with ties, extreme ratios, episodes of 1 to 200 steps, and versions that change within blocks."""
    rng = np.random.default_rng(0)
    episode = np.repeat(rng.permutation(rows // 20), rng.integers(1, 200, rows // 20))[:rows]
    parts = rng.normal(-0.1, 0.4, (rows, dimensions)).astype(np.float32)
    parts[rng.random(rows) < 0.2] = 0.25
    parts[5], parts[rows // 2] = largest / dimensions, -largest
    advantage = rng.standard_normal(rows).astype(np.float32)
    advantage[::7] = 0
    version = rng.integers(0, 4, rows)
    return {
        "log_ratio": parts.sum(1), "advantage": advantage, "episode": episode, "held_out": episode % 5 == 0,
        "home": version > 0, "version": version, "log_ratio_parts": parts,
    }  # fmt: skip


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setenv("GIPO_CACHE", str(tmp_path / "cache"))

    def make(arrays, name="run", objective="gipo", save=np.savez_compressed):
        place = tmp_path / name
        place.mkdir()
        (place / "run.json").write_text("{}")
        (place / "config.toml").write_text(f'objective = "{objective}"\n[settings]\n')
        save(place / "log_ratios.npz", **arrays)
        return place

    return make


@pytest.fixture
def in_blocks(monkeypatch):
    """From now on columns are mapped, and all of them looked at in blocks of so many rows."""

    def set_blocks(rows):
        monkeypatch.setenv("GIPO_COLUMN_MEMORY", "0")
        for module, name, value in (
            (columns, "BLOCK", rows), (order_statistics, "BLOCK", rows), (order_statistics, "IN_MEMORY", 4 * rows),
            (order_statistics, "DIGIT", 8), (resident, "BLOCK", rows), (npz, "PIECE", 1000),
        ):  # fmt: skip
            monkeypatch.setattr(module, name, value)

    return set_blocks


def flat(value, path=""):
    """Numbers and words of a document by their place in it."""
    if isinstance(value, dict | list):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        return {key: found for name, each in pairs for key, found in flat(each, f"{path}.{name}").items()}
    return {path: value}


CASES = {
    "ratios per dimension": ({}, "gipo"),
    "joint ratios": ({"log_ratio_parts": None}, "gipo"),
    "one version": ({"version": None, "home": None}, "ppo-clip"),
    "nothing held out": ({"held_out": np.zeros(3000, bool)}, "gipo"),
    "one episode": ({"episode": np.zeros(3000, int)}, "gipo"),
    "an episode each step": ({"episode": np.arange(3000)}, "gipo"),
    "a weight of the batch": ({"log_ratio_parts": None}, "m2po"),
    "all ratios 1": ({"log_ratio": np.zeros(3000, np.float32), "log_ratio_parts": None}, "gipo"),
}


@pytest.mark.parametrize("largest", [3.0, 5000.0])
@pytest.mark.parametrize(("changed", "objective"), CASES.values(), ids=CASES)
def test_a_document_is_the_same_in_memory_and_in_blocks(gipo, run, in_blocks, changed, objective, largest):
    arrays = {key: each for key, each in (made_up(3000, largest) | changed).items() if each is not None}
    place = run(arrays, objective=objective)
    whole = gipo("inspect-weights", place, "--json")
    assert whole.exit_code == 0
    in_blocks(150)
    found = gipo("inspect-weights", place, "--json")
    assert (found.exit_code, found.stderr) == (0, whole.stderr)
    # Sums of 3,000 float64 in another order differ by 1e-13 of their terms; what is left of a difference of two of
    # them (a bias, a chance below it) may be 1e-3 of these.
    assert flat(json.loads(found.stdout)) == {
        key: pytest.approx(value, rel=1e-9, abs=1e-12) if isinstance(value, float) else value
        for key, value in flat(json.loads(whole.stdout)).items()
    }


def test_text_and_picture_are_the_same_in_blocks(gipo, run, in_blocks):
    place = run(made_up(3000, 3.0))
    whole = gipo("inspect-weights", place, "--plot", place / "whole.png")
    in_blocks(150)
    found = gipo("inspect-weights", place, "--plot", place / "blocks.png")
    assert found.exit_code == 0 and found.stdout == whole.stdout
    assert (place / "blocks.png").read_bytes() == (place / "whole.png").read_bytes()


def test_a_picture_of_many_rows_draws_its_curve_from_some(run, in_blocks, monkeypatch):
    weights = inspect_run(RunDirectory.open(run(made_up(3000, 3.0) | {"home": np.ones(3000, bool)}))).weights
    monkeypatch.setattr(plots, "MOST_DRAWN", 300)
    in_blocks(150)
    x, advantage, weight = plots._drawn(weights)
    assert 200 < len(x) < 400
    every = {row for (x, a, w) in columns.walk(weights.log_ratio, weights.advantage, weights.trust_weighted)
             for row in zip(x, a, w, strict=True)}  # fmt: skip
    assert {*zip(x, advantage, weight, strict=True)} <= every  # what belongs together stays together


def test_memory_is_that_of_blocks_and_episodes_and_not_of_steps(run, in_blocks, monkeypatch):
    rows = 2**19
    arrays = made_up(rows, 3.0, dimensions=1)
    del arrays["version"], arrays["home"]
    place = RunDirectory.open(run(arrays, save=np.savez))
    in_blocks(2**13)
    monkeypatch.setattr(npz, "PIECE", 2**15)
    inspect_run(RunDirectory.open(run(made_up(100, 3.0), "small")))  # what is loaded once
    tracemalloc.start()
    try:
        inspect_run(place)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < rows * 8  # one column in float64; the whole columns would be ten of them


def test_what_is_mapped_is_given_back_between_blocks(run, in_blocks, monkeypatch):
    place = RunDirectory.open(run(made_up(3000, 3.0)))
    in_blocks(150)
    trims = []
    monkeypatch.setattr(resident, "trim", lambda: trims.append(1))
    weights = inspect_run(place).weights
    trims.clear()
    for name in ("log_ratio", "advantage", "episode", "held_out", "trust_weighted", "parts", "version"):
        before = len(trims)
        assert sum(len(block) for (block,) in columns.walk(getattr(weights, name))) == len(weights.log_ratio)
        assert len(trims) - before >= 3000 // 150, name


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"log_ratio": np.where(np.arange(3000) < 2500, 0, np.nan)}, "log_ratio in {} is nan at row 2500 (500 such"),
        ({"log_ratio_parts": np.ones((2999, 3))}, "log_ratio_parts in {} has the shape [2999, 3]; expected [3000, dim"),
        ({"home": np.zeros(3000, bool)}, "home in {} does not say of each of the 3000 rows whether it is one."),
        ({"version": np.ones(3000)}, "version in {} does not number the policy of each of the 3000 rows."),
        ({"episode": np.ones((3000, 1), int)}, "episode in {} has the shape [3000, 1]; expected [3000]."),
    ],
)
def test_wrong_columns_are_refused_in_blocks_as_well(gipo, run, in_blocks, changed, message):
    place = run(made_up(3000, 3.0) | changed)
    in_blocks(150)
    found = gipo("inspect-weights", place)
    assert found.exit_code == 3 and found.stderr.startswith(f"gipo: {message.format(place / 'log_ratios.npz')}")


def test_columns_that_the_disk_has_no_room_for_are_not_called_damaged(gipo, run, in_blocks, monkeypatch):
    place = run(made_up(3000, 3.0))
    in_blocks(150)
    monkeypatch.setattr("gipo_cli.data.cache.SPARE_DISK", 2**62)
    found = gipo("inspect-weights", place)
    assert found.exit_code == 3 and "GIPO_CACHE" in found.stderr and "damaged" not in found.stderr


def test_an_archive_that_claims_too_much_is_not_read(gipo, run, monkeypatch):
    place = run(made_up(3000, 3.0))
    monkeypatch.setattr("gipo_cli.reports.log_ratios.LARGEST", 1000)
    found = gipo("inspect-weights", place)
    assert found.exit_code == 3 and "bytes, more than any run writes." in found.stderr
