"""A training whose columns are mapped, and that takes its sums and rows in pieces, gives the bytes of one in memory."""

import hashlib
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from gipo_cli import archives
from gipo_cli.advantages import Task, explained, path_consistency
from gipo_cli.advantages.traces import discounted_returns
from gipo_cli.config import TrainConfig
from gipo_cli.data import catalog, resident
from gipo_cli.data.cache import largest_in_memory
from gipo_cli.errors import InterruptedRun
from gipo_cli.policies.weights import policy_from_weights
from gipo_cli.registry import ADVANTAGES, OBJECTIVES
from gipo_cli.runs import RunDirectory
from gipo_cli.training import columns, estimation, order, samples, serialised
from gipo_cli.training.loop import fit
from gipo_cli.training.samples import to_samples
from tests.advantages.corridor import silent
from tests.benchmarks import large

CPU = torch.device("cpu")
SMALL = {
    columns: {"CHUNK": 512, "LARGE": 1000, "SCATTERED": 16}, samples: {"LARGE": 1000, "MOST_JUDGED": 100},
    serialised: {"AT_ONCE": 1024}, order: {"BLOCK": 16, "WINDOW": 64 * 16}, archives: {"PIECE": 4096},
    resident: {"BLOCK": 512, "RESIDENT": 0}, path_consistency: {"START_FIT_STEPS": 5},
}  # fmt: skip


@pytest.fixture(scope="module")
def logs(cartpole_log, tmp_path_factory):
    """By name: choices; real numbers by a policy that is in the log; and by one that is not."""
    place = tmp_path_factory.mktemp("logs")
    for name, carried in (("carried", True), ("cloned", False)):
        large.write(place / f"{name}.hdf5", 12_345, carried)
    return {"choices": cartpole_log, **{name: place / f"{name}.hdf5" for name in ("carried", "cloned")}}


@pytest.fixture
def pieces(monkeypatch):
    """What is done in pieces for a hundred million rows is so for some thousand."""
    for module, constants in SMALL.items():
        for name, value in constants.items():
            monkeypatch.setattr(module, name, value)


def train(log, out, advantage="path-consistency", stop_at=None, **settings):
    config = TrainConfig(
        str(log), advantage=advantage, steps=12, report_every=4, checkpoint_every=4, critic_steps=12, clone_steps=30,
        batch_size=64, hidden_sizes=(16,), certify=False, **settings,
    )  # fmt: skip
    opened = catalog.load(str(log))

    def report(metrics):
        if metrics["step"] == stop_at:
            raise InterruptedRun("stopped", "")

    with RunDirectory(out) if out.exists() else RunDirectory.create(out) as run:
        fit(config, OBJECTIVES.load("gipo"), ADVANTAGES.load(advantage), opened, run, CPU, silent, on_report=report)
    return opened


def digests(run):
    files = sorted(path for path in run.rglob("*") if path.is_file() and path.name != "run.lock")
    return {str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.usefixtures("pieces")
@pytest.mark.parametrize(
    ("log", "settings"),
    [("choices", {}), ("carried", {"rounds": 2}), ("cloned", {}), ("carried", {"advantage": "gae"}),
     ("choices", {"advantage": "monte-carlo"}), ("carried", {"advantage": "v-trace", "rounds": 2}),
     ("carried", {"advantage": "expectile"}), ("choices", {"advantage": "expectile"}),
     ("carried", {"advantage": "ensemble"})],
)  # fmt: skip
def test_mapped_columns_give_the_bytes_of_columns_in_memory(log, settings, logs, tmp_path, monkeypatch):
    monkeypatch.setenv("GIPO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GIPO_COLUMN_MEMORY", str(2**40))
    train(logs[log], tmp_path / "memory", **settings)
    assert not (tmp_path / "cache" / "columns").exists()
    monkeypatch.setenv("GIPO_COLUMN_MEMORY", "0")
    opened = train(logs[log], tmp_path / "mapped", **settings)
    assert isinstance(opened.observations, np.memmap)
    assert digests(tmp_path / "mapped") == digests(tmp_path / "memory")


@pytest.mark.usefixtures("pieces")
def test_log_probs_that_are_estimated_are_those_of_columns_in_memory(logs, tmp_path, monkeypatch):
    monkeypatch.setattr(estimation, "STEPS", 10)
    bare = replace(catalog.load(str(logs["cloned"])), policy_versions=np.arange(12_345) // 1000 // 4)
    found = {}
    for limit in ("1000000000", "0"):
        monkeypatch.setenv("GIPO_CACHE", str(tmp_path / limit))
        monkeypatch.setenv("GIPO_COLUMN_MEMORY", limit)
        with Longest() as longest:
            found[limit], figures = estimation.estimate_behaviour(bare, 0)
        assert estimation.estimate_behaviour(bare, 0)[1] == figures  # of the cache
    in_memory, mapped = found.values()
    assert isinstance(mapped.behaviour_log_probs, np.memmap)
    np.testing.assert_array_equal(mapped.behaviour_log_probs, in_memory.behaviour_log_probs)
    assert mapped.notes == in_memory.notes
    assert longest.found < 2000


class Longest(TorchDispatchMode):
    """The longest axis of all tensors that operations make in memory; what they show of others is none of them."""

    def __init__(self):
        super().__init__()
        self.found = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        made = operation(*args, **kwargs or {})
        there = {each.untyped_storage().data_ptr() for each in tree_leaves(args) if isinstance(each, torch.Tensor)}
        for each in tree_leaves(made):
            if isinstance(each, torch.Tensor) and each.untyped_storage().data_ptr() not in there:
                self.found = max([self.found, *each.shape])
        return made


@pytest.mark.usefixtures("pieces")
@pytest.mark.parametrize("name", ADVANTAGES.places)
def test_no_estimator_makes_a_column_in_memory(name, logs, tmp_path, monkeypatch):
    monkeypatch.setenv("GIPO_CACHE", str(tmp_path))
    monkeypatch.setenv("GIPO_COLUMN_MEMORY", "0")
    monkeypatch.setattr(explained, "MOST_STRETCHES", 40)
    log = catalog.load(str(logs["carried"]))
    policy = policy_from_weights(log.behaviour_weights, "the log's")
    task = Task(to_samples(log, 0.1, 0, CPU), policy, policy, 0.99, 0.5, 5, 0, silent)
    with Longest() as longest:
        ADVANTAGES.load(name)(task)
    # An episode has 1,000 rows, a batch 1,024, what is scored 40 stretches of 32; the log has 12,345.
    assert longest.found < 2000


@pytest.mark.usefixtures("pieces")
def test_a_mapped_run_that_was_stopped_ends_in_the_bytes_of_one_that_was_not(logs, tmp_path, monkeypatch):
    monkeypatch.setenv("GIPO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GIPO_COLUMN_MEMORY", "0")
    train(logs["carried"], tmp_path / "whole")
    with pytest.raises(InterruptedRun):
        train(logs["carried"], tmp_path / "stopped", stop_at=8)
    train(logs["carried"], tmp_path / "stopped")
    assert digests(tmp_path / "stopped") == digests(tmp_path / "whole")


def test_returns_of_a_stretch_of_episodes_are_those_of_the_log(logs, request):
    log = catalog.load(str(logs["carried"]))
    at_once = discounted_returns(to_samples(log, 0.1, 0, CPU), 0.99)
    request.getfixturevalue("pieces")
    in_pieces = to_samples(log, 0.1, 0, CPU)
    assert len(list(in_pieces.stretches())) == 13
    # The mean reward, that of what follows a cut episode, is summed in another order.
    torch.testing.assert_close(discounted_returns(in_pieces, 0.99), at_once, rtol=1e-6, atol=1e-5)


def test_many_held_out_rows_are_judged_by_whole_episodes_spread_over_them(logs, monkeypatch):
    log = catalog.load(str(logs["carried"]))
    every = to_samples(log, 0.5, 0, CPU).judged_rows
    monkeypatch.setattr(samples, "MOST_JUDGED", 3500)
    found = to_samples(log, 0.5, 0, CPU)
    assert len(found.judged_rows) <= 3500 < len(every)
    episodes = found.episode[found.judged_rows].unique()
    assert len(found.judged_rows) == sum(int((found.episode == each).sum()) for each in episodes)
    assert torch.isin(found.judged_rows, every).all()


def test_a_column_is_mapped_from_128_mib_on(monkeypatch):
    monkeypatch.delenv("GIPO_COLUMN_MEMORY", raising=False)
    assert largest_in_memory() <= 2**27


@pytest.mark.usefixtures("pieces")
def test_a_full_cache_is_said_before_anything_is_trained(gipo, logs, tmp_path, monkeypatch):
    monkeypatch.setenv("GIPO_CACHE", str(tmp_path))
    monkeypatch.setenv("GIPO_COLUMN_MEMORY", "0")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage._replace(free=2**20))
    done = gipo("train", "--dataset", logs["carried"], "--out", tmp_path / "run", "--quiet")
    assert done.exit_code == 3
    assert "more than memory takes" in done.stderr
    assert "GIPO_CACHE" in done.stderr
