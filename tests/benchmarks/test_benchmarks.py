"""The benchmarks run, measure what they say, and compare within one run; no test here knows an absolute time."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from gipo_cli.advantages import path_consistency
from gipo_cli.config import TrainConfig
from gipo_cli.policies.policy import Policy, PolicySpec
from gipo_cli.registry import ADVANTAGES, OBJECTIVES
from gipo_cli.runs import RunDirectory
from gipo_cli.training.checkpoints import load
from gipo_cli.training.loop import TRAIN_ORDER, fit
from gipo_cli.training.order import ShuffledRows
from gipo_cli.training.samples import to_samples
from gipo_cli.training.state import begun, restore
from tests.benchmarks import advantages, ensembles, loading, made_up, rollouts, updates, values, weights
from tests.benchmarks.comparison import Comparison, Subject, measure
from tests.benchmarks.gpu_profile import Filled, filled
from tests.benchmarks.made_up import ACTION, HIDDEN, OBSERVATION
from tests.benchmarks.peers import jax_scan, matrix_products, plain_torch
from tests.benchmarks.processes import ROOT
from tests.benchmarks.scale import Scale
from tests.benchmarks.table import tables
from tests.benchmarks.values import Clock

TINY = Scale(
    repeats=1, seconds=0.001, peers=False, rows=3_000, batches=(256,), advantage_rows=(3_000,), advantage_updates=5,
    file_rows=3_000, weight_rows=(5_000,), megabytes=1, episodes=1, members=(1, 2),
)  # fmt: skip
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def short_first_fit(monkeypatch):
    monkeypatch.setattr(path_consistency, "START_FIT_STEPS", 5)


@pytest.mark.parametrize("benchmark", [ensembles, values, advantages, loading, weights, rollouts])
def test_every_benchmark_of_our_own_runs(benchmark):
    if benchmark is rollouts:
        pytest.importorskip("mujoco", reason="needs mujoco")
    for comparison in benchmark.comparisons(TINY):
        found = measure(comparison, threads=1, repeats=TINY.repeats, seconds=TINY.seconds)
        assert [result.absent for result in found] == [None] * len(comparison.subjects)
        for result in found:
            lower, median, upper = result.quartiles
            assert 0 < lower <= median <= upper < np.inf
        assert found[0].to_first == (1, 1, 1)
        assert all(result.subject in tables([result.to_dict() for result in found]) for result in found)


def test_our_update_costs_little_more_than_plain_torch():
    comparison = next(updates.comparisons(TINY))
    assert list(comparison.subjects) == ["gipo", "the same in plain torch", "its matrix products alone (limit)"]
    _, plain, limit = measure(comparison, threads=1, repeats=11, seconds=0.04)
    print(f"\nplain torch {plain.to_first[1]:.2f} times as fast as gipo, matrix products {limit.to_first[1]:.2f} times")
    # 0.98 to 1.22 where it was written; the lower quartile, because another process takes its time from either.
    assert plain.to_first[0] < 1.5
    assert limit.to_first[2] > 1


def test_the_measured_update_comes_to_the_bytes_that_training_comes_to(tmp_path):
    config = TrainConfig(
        "made-up", steps=20, report_every=20, checkpoint_every=20, critic_steps=5, clone_steps=5, batch_size=64,
        hidden_sizes=(16,), certify=False,
    )  # fmt: skip
    log = made_up.log(3_000)
    with RunDirectory.create(tmp_path / "run") as run:
        estimator = ADVANTAGES.load(config.advantage)
        fit(config, OBJECTIVES.load(config.objective), estimator, log, run, CPU, Clock().phase)
    first, last = (load(tmp_path / "run" / "checkpoints" / f"step-{step:08}") for step in (0, 20))
    now = restore(config, first, CPU)
    updates.update_of(config, to_samples(log, config.held_out_fraction, config.seed, CPU), now)(20)
    for name, value in now.policy.state_dict().items():
        assert torch.equal(value, last.tensors["policy"][name]), name
    assert torch.equal(now.anchor.state, last.tensors["training"]["anchor"])


def ours_and_its_rows(steps):
    """The policy before and after some updates, the anchor's state, and the rows of each update."""
    config = TrainConfig("made-up", batch_size=64, steps=10**9)
    samples = to_samples(made_up.log(3_000), config.held_out_fraction, config.seed, CPU)
    policy = Policy(PolicySpec("gaussian", OBSERVATION, ACTION, HIDDEN, "tanh"))
    before = layers(policy)
    now = begun(config, policy, torch.as_tensor(made_up.arrays(3_000).advantage), {"warm_start": {"kl": 0.0}}, None)
    updates.update_of(config, samples, now)(steps)
    order = ShuffledRows(samples.held_in_rows, config.batch_size, config.seed, TRAIN_ORDER)
    return before, layers(policy), now.anchor.state.numpy(), [order.batch(step) for step in range(steps)]


def layers(policy):
    """Weights [in, out] and biases, layer by layer; mean and log standard deviation side by side."""
    last = [torch.cat([getattr(part, of) for part in (policy.last_fc, policy.last_fc_log_std)]) for of in
            ("weight", "bias")]  # fmt: skip
    found = [(policy.fc0.weight, policy.fc0.bias), (policy.fc1.weight, policy.fc1.bias), last]
    return [(weight.detach().T.numpy().copy(), bias.detach().numpy().copy()) for weight, bias in found]


def assert_same_way(before, ours, theirs):
    """Adam's first steps have the size of the learning rate whatever the gradient's: rounding shows where that is 0."""
    for start, mine, other in zip(before, ours, theirs, strict=True):
        for was, a, b in zip(start, mine, other, strict=True):
            assert np.abs(np.asarray(b) - a).mean() < 0.01 * np.abs(a - was).mean()


def test_the_update_in_plain_torch_is_ours():
    before, after, anchor, rows = ours_and_its_rows(10)
    network = plain_torch.new_network()
    linear = [module for module in network if isinstance(module, torch.nn.Linear)]
    with torch.no_grad():
        for module, (weight, bias) in zip(linear, before, strict=True):
            module.weight.copy_(torch.as_tensor(weight.T))
            module.bias.copy_(torch.as_tensor(bias))
    update, plain_anchor = plain_torch.update_of(network, made_up.arrays(3_000))
    for batch in rows:
        update(batch)
    theirs = [(module.weight.detach().numpy().T, module.bias.detach().numpy()) for module in linear]
    assert_same_way(before, after, theirs)
    np.testing.assert_allclose(plain_anchor.numpy(), anchor, rtol=1e-4)


def test_the_update_in_jax_is_ours():
    jax = pytest.importorskip("jax", reason="needs jax")
    pytest.importorskip("optax", reason="needs optax")
    before, after, anchor, rows = ours_and_its_rows(10)
    state, update = jax_scan.begin(before), jax.jit(jax_scan.update)
    for batch in rows:
        state = update(state, batch.numpy(), jax_scan.columns(made_up.arrays(3_000)))
    assert_same_way(before, after, state[0])
    np.testing.assert_allclose(state[2], anchor, rtol=1e-4)


def test_the_operations_of_the_matrix_products_are_those_of_their_shapes():
    # Forward 11 x 256, 256 x 256, 256 x 6; twice that backward but for the gradient of the observation.
    assert matrix_products.flops(1) == 2 * (3 * (11 * 256 + 256 * 256 + 256 * 6) - 11 * 256)


def test_subjects_take_turns_and_what_is_absent_is_said():
    calls = []

    def counting(name):
        return lambda: Subject(lambda times: calls.append(name))

    def absent():
        raise ImportError("No module named 'elsewhere'\nmore of it")

    comparison = Comparison("turns", "calls", {"a": counting("a"), "b": counting("b"), "c": absent})
    *found, missing = measure(comparison, threads=1, repeats=3, seconds=1e-9)
    assert calls[-6:] == ["a", "b"] * 3
    assert [result.rounds for result in found] == [3, 3]
    assert (missing.absent, missing.quartiles) == ("No module named 'elsewhere'", None)
    assert "c: absent, No module named 'elsewhere'" in tables([missing.to_dict()])


def test_the_command_writes_what_it_prints(tmp_path):
    out = tmp_path / "speed.json"
    command = [sys.executable, "-m", "tests.benchmarks", "--quick", "--own", "--only", "machine", "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    document = json.loads(out.read_text())
    named = {result["comparison"] for result in document["results"]}
    assert all(f"**{name}**" in done.stdout for name in named)
    assert {result["threads"] for result in document["results"]} == {1}
    assert document["machine"]["versions"]["torch"] == torch.__version__.partition("+")[0] or "+" in torch.__version__


def test_a_profile_counts_what_runs_and_what_is_between():
    # 0-4 and 2-5 overlap, then 1 us of nothing, 6-8, then 12 us of it, 20-30.
    found = filled([(20.0, 30.0), (0.0, 4.0), (2.0, 5.0), (6.0, 8.0)])
    assert found == Filled(kernels=4, total=30.0, busy=17 / 30, long_gaps=1, longest_gap=12.0)
