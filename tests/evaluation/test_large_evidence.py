"""Evaluation by a log that is looked at in pieces: mapped columns give the bits of columns in memory."""

import mmap
import os
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gipo_cli.data import catalog, resident
from gipo_cli.evaluation import estimators, evidence, intervals, offline
from gipo_cli.evaluation.estimators import Evidence
from gipo_cli.evaluation.offline import Question, crossed_folds, judge, own_folds
from gipo_cli.evaluation.refusals import support
from gipo_cli.policies.weights import policy_from_weights
from gipo_cli.registry import ESTIMATORS
from gipo_cli.training import columns, samples
from gipo_cli.training.samples import to_samples
from tests.advantages.corridor import coin, corridor_log, silent
from tests.benchmarks import large

SMALL = {
    columns: {"CHUNK": 512, "LARGE": 1000, "SCATTERED": 100}, samples: {"LARGE": 1000}, evidence: {"LARGE": 1000},
    estimators: {"LARGE": 500, "CELLS": 1000}, resident: {"BLOCK": 512, "RESIDENT": 0}, intervals: {"RESAMPLES": 200},
}  # fmt: skip


@pytest.fixture
def pieces(tmp_path, monkeypatch):
    """What is done in pieces for many million rows is so for some thousand."""
    monkeypatch.setenv("GIPO_CACHE", str(tmp_path / "cache"))
    for module, constants in SMALL.items():
        for name, value in constants.items():
            monkeypatch.setattr(module, name, value)


def question(kind, place):
    """Of choices, of real numbers, or of real numbers by two policies."""
    if kind == "choices":
        log, policy = corridor_log(200), coin(0.75)
    else:
        large.write(place / "log.hdf5", 4000, episode=40)
        log = catalog.load(str(place / "log.hdf5"))
        policy = policy_from_weights(log.behaviour_weights, "the log")
        with torch.no_grad():
            policy.last_fc.bias += 0.01
    mixed = kind == "versions"
    if mixed:
        log = replace(log, policy_versions=np.repeat(np.arange(log.episodes) % 2, log.episode_lengths))
    found = to_samples(log, 0.5, 0, torch.device("cpu")).started_from(1 if mixed else None)
    return Question(policy, found, log.action_space, own_folds(found) if mixed else crossed_folds(found), 0.97)


def is_mapped(column):
    while isinstance(column, np.ndarray):
        column = column.base
    return isinstance(column, mmap.mmap)


@pytest.mark.usefixtures("pieces")
@pytest.mark.parametrize("kind", ["choices", "real numbers", "versions"])
def test_mapped_columns_give_the_document_of_columns_in_memory(kind, tmp_path, monkeypatch):
    gathered, documents = [], []

    def gather(*given, **sizes):
        gathered.append(evidence.gather(*given, **sizes))
        return gathered[-1]

    monkeypatch.setattr(offline, "gather", gather)
    for limit in (2**40, 0):
        monkeypatch.setenv("GIPO_COLUMN_MEMORY", str(limit))
        documents.append(judge(question(kind, tmp_path), silent, updates=8))
    in_memory, mapped = (each.evidence for each in gathered)
    for column in (field.name for field in fields(Evidence) if field.name != "discount"):
        first, second = getattr(in_memory, column), getattr(mapped, column)
        assert is_mapped(second) and not is_mapped(first)
        assert first.tobytes() == second.tobytes(), column
    assert documents[0] == documents[1]
    assert len([*mapped.parts()]) > 1
    refused = {name for name, found in documents[0]["estimators"].items() if found["refused"]}
    assert not refused & {"drl", "fqe", "magic", "wpdis", "wdr", "truncated"}


def ragged(episodes=300, longest=40):
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, longest + 1, episodes)
    columns = {field.name: rng.normal(size=lengths.sum()) for field in fields(Evidence) if field.name != "discount"}
    columns |= {"episode": np.repeat(np.arange(episodes), lengths), "log_ratio": rng.normal(0, 0.1, lengths.sum())}
    return Evidence(discount=0.97, **columns)


@pytest.mark.parametrize("name", ESTIMATORS.places)
def test_in_pieces_an_estimate_is_the_same_but_for_rounding(name, request):
    counts = np.random.default_rng(1).multinomial(300, np.full(300, 1 / 300), size=20).astype(np.float64)
    at_once = ESTIMATORS.load(name)(ragged()).of_counts(counts)
    request.getfixturevalue("pieces")
    found = ragged()
    assert len([*found.parts()]) > 6
    # Sums of some thousand float64 numbers of order 1, in another order; magic's blend magnifies it.
    np.testing.assert_allclose(ESTIMATORS.load(name)(found).of_counts(counts), at_once, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found.behaviour_returns, ragged().behaviour_returns, rtol=1e-12, atol=1e-12)


def test_in_pieces_a_log_carries_as_far(request):
    at_once = support(ragged())
    request.getfixturevalue("pieces")
    found = support(ragged())
    for name, value in vars(at_once).items():
        assert getattr(found, name) == pytest.approx(value, rel=1e-12), name


def test_no_step_is_no_evidence():
    nothing = Evidence(0.9, *(np.zeros(0) for _ in range(10)))
    with pytest.raises(ValueError, match="there are no samples"):
        ESTIMATORS.load("fqe")(nothing)


PEAK = """
import sys
import torch
from gipo_cli.advantages import networks
from gipo_cli.data import catalog, resident
from gipo_cli.evaluation import estimators, evidence
from gipo_cli.evaluation.offline import Question, crossed_folds, judge
from gipo_cli.policies.weights import policy_from_weights
from gipo_cli.training import columns, samples
from gipo_cli.training.samples import to_samples
from tests.advantages.corridor import silent
resident.RESIDENT = 2**21
networks.WIDTH = 4  # of what is stored for a row nothing is less, and its time is
columns.LARGE = samples.LARGE = estimators.LARGE = evidence.LARGE = 2**15
torch.set_num_threads(1)
log = catalog.load(sys.argv[1])
found = to_samples(log, 0.1, 0, torch.device("cpu"))
policy = policy_from_weights(log.behaviour_weights, "the log")
question = Question(policy, found, log.action_space, crossed_folds(found), 0.99)
judge(question, silent, members=1, updates=2)
print(next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def peak(rows, place):
    """Bytes that a process has resident at most, which evaluates by a mapped log of so many rows."""
    log = place / f"{rows}.hdf5"
    large.write(log, rows)
    env = {**os.environ, "GIPO_CACHE": str(place / "cache"), "GIPO_COLUMN_MEMORY": "100000", "OMP_NUM_THREADS": "1",
           "MALLOC_MMAP_THRESHOLD_": "65536"}  # fmt: skip  # what is freed leaves at once, and is not counted as needed
    done = subprocess.run([sys.executable, "-c", PEAK, log], env=env, capture_output=True, text=True, check=True)
    return int(done.stdout) * 2**10


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="the peak is read from Linux's /proc")
def test_memory_hardly_grows_with_a_mapped_log(tmp_path):
    few, many = 20_000, 60_000
    more = (peak(many, tmp_path) - peak(few, tmp_path)) / (many - few)
    print(f"\n{more:.0f} bytes more a row")
    assert more < 200  # 53 where it was written; 540 where all columns are in memory
