"""Pieces of a batch: the same numbers however many threads share them, and those of the batch as a whole."""

import threading

import pytest
import torch

from gipo_cli import pieces as module
from gipo_cli.objectives.gipo import gipo
from gipo_cli.objectives.m2po import m2po
from gipo_cli.pieces import ROWS, cores, differentiate, each, pieces, sharing
from gipo_cli.policies.layers import NARROW, linear
from gipo_cli.policies.policy import Policy, PolicySpec
from gipo_cli.training.update import Batch


def test_pieces_are_neighbouring_rows_of_about_one_size():
    assert [len(piece) for piece in pieces(torch.arange(ROWS))] == [ROWS]
    assert [len(piece) for piece in pieces(torch.arange(2 * ROWS + 1))] == [342, 342, 341]
    torch.testing.assert_close(torch.cat(pieces(torch.arange(5000))), torch.arange(5000))
    assert [len(piece) for piece in pieces(torch.arange(0))] == [0]


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_parts_come_back_in_order(threads):
    with sharing(threads):
        assert each(lambda n: n * n, range(20)) == [n * n for n in range(20)]


def test_several_parts_are_worked_on_at_once():
    together = threading.Barrier(2, timeout=20)  # passed by two threads at once or by none
    with sharing(2):
        each(lambda part: together.wait(), range(2))


def test_a_thread_has_one_of_torchs_own_and_the_mode_of_the_one_that_asks():
    before = torch.get_num_threads()
    with sharing(2):
        assert each(lambda part: torch.get_num_threads(), range(4)) == [1] * 4
        with torch.no_grad():
            assert each(lambda part: torch.is_grad_enabled(), range(4)) == [False] * 4
        assert each(lambda part: torch.is_grad_enabled(), range(4)) == [True] * 4
    assert torch.get_num_threads() == before
    assert module._threads is None


def test_what_goes_wrong_in_a_thread_is_told():
    with sharing(2), pytest.raises(ZeroDivisionError):
        each(lambda part: 1 // part, [1, 0])


def test_libraries_that_may_take_one_thread_leave_one(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert cores() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "many")
    assert cores() >= 1


def gradients_of(policy, batch, threads):
    with sharing(threads):
        differentiate([*policy.parameters()], lambda rows: batch.losses(policy, rows).loss, batch.pieces)
    return torch.cat([parameter.grad.flatten() for parameter in policy.parameters()])


@pytest.fixture
def batch(made_up_samples):
    advantage = torch.randn(len(made_up_samples.reward), generator=torch.Generator().manual_seed(1))
    return Batch(gipo, {"sigma": 0.7}, advantage, made_up_samples, torch.arange(1800))


@pytest.fixture
def made_up_samples():
    from gipo_cli.training.samples import to_samples
    from tests.benchmarks import made_up

    return to_samples(made_up.log(3_000), 0.1, 0, torch.device("cpu"))


@pytest.fixture
def policy(made_up_samples):
    torch.manual_seed(0)
    return Policy(
        PolicySpec("gaussian", made_up_samples.observation.shape[1], made_up_samples.action.shape[1], (64, 64))
    )


def test_gradients_have_the_same_bytes_on_any_number_of_threads(policy, batch):
    assert len(batch.pieces) == 4
    alone = gradients_of(policy, batch, 1)
    for threads in (2, 3, 8):
        assert torch.equal(gradients_of(policy, batch, threads), alone)


def test_gradients_of_the_pieces_sum_to_that_of_the_batch(policy, batch):
    found = gradients_of(policy, batch, 2)
    loss = batch.losses(policy, batch.rows).loss
    whole = torch.cat([part.flatten() for part in torch.autograd.grad(loss, [*policy.parameters()])])
    # Sums of 1,800 float32 in another order: rounding of 6e-8 each, against the largest of them.
    assert (found - whole).abs().max() < 1e-5 * whole.abs().max()


def test_a_loss_that_depends_on_its_whole_batch_is_not_cut(batch):
    whole = Batch(m2po, {}, batch.advantage, batch.samples, batch.rows)
    assert [len(piece) for piece in whole.pieces] == [1800]


@pytest.mark.parametrize("fan_in", [1, 11, NARROW - 1, NARROW])
@pytest.mark.parametrize("shape", [(7,), (3, 5)])
def test_a_narrow_layer_is_the_same_layer(fan_in, shape):
    draw = torch.Generator().manual_seed(0)
    x, weight, bias = (
        torch.randn(size, generator=draw, dtype=torch.float64, requires_grad=True)
        for size in ((*shape, fan_in), (4, fan_in), (4,))
    )
    ours, theirs = linear(x, weight, bias), torch.nn.functional.linear(x, weight, bias)
    torch.testing.assert_close(ours, theirs)
    pull = torch.randn(*shape, 4, generator=draw, dtype=torch.float64)
    for mine, other in zip(
        torch.autograd.grad(ours, (x, weight, bias), pull), torch.autograd.grad(theirs, (x, weight, bias), pull),
        strict=True,
    ):  # fmt: skip
        torch.testing.assert_close(mine, other)


def test_training_gives_the_same_bytes_on_any_number_of_threads(gipo, cartpole_log, tmp_path):
    for threads in (1, 3):
        outcome = gipo(
            "train", "--dataset", cartpole_log, "--out", tmp_path / str(threads), "--steps", "40", "--quiet",
            "--set", "critic_steps=40", "--set", "report_every=20", "--set", "checkpoint_every=20",
            "--set", "clone_steps=40", "--set", f"threads={threads}",
        )  # fmt: skip
        assert outcome.exit_code == 0, outcome.stderr
    for name in ("checkpoints/step-00000040/policy.safetensors", "metrics.jsonl", "log_ratios.npz"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "3" / name).read_bytes()
