"""What a recorded update is told before each replay, and when it is recorded anew; test_cuda.py has real graphs."""

import pytest
import torch

from gipo_cli.config import TrainConfig
from gipo_cli.objectives.gipo import gipo
from gipo_cli.objectives.trpo import trpo
from gipo_cli.policies.policy import Policy, PolicySpec
from gipo_cli.training import recorded
from gipo_cli.training.recorded import WARM_UP, Recorded, RecordedUpdates
from gipo_cli.training.samples import to_samples
from gipo_cli.training.state import begun
from gipo_cli.training.update import Batch, update
from tests.benchmarks import made_up

CONFIG = TrainConfig("made-up", steps=20)  # the learning rate falls over the last four


@pytest.fixture(scope="module")
def samples():
    return to_samples(made_up.log(2_000), 0.1, 0, torch.device("cpu"))


@pytest.fixture
def recordings(monkeypatch):
    """A machine without CUDA, made to look as if it had it: to replay work is to do it."""
    made = []

    def record(self):
        made.append(self)
        return self._work

    monkeypatch.setattr(Recorded, "_recorded", record)
    monkeypatch.setattr(recorded, "waits", lambda work: work() is None)
    return made


def trained(samples, update_of, sigmas):
    """Weights, losses and learning rate after one update with each sigma, of other rows each time."""
    torch.manual_seed(0)
    policy = Policy(PolicySpec("gaussian", samples.observation.shape[1], samples.action.shape[1], (16,)))
    advantage = torch.randn(len(samples.reward), generator=torch.Generator().manual_seed(1))
    now = begun(CONFIG, policy, advantage, {"warm_start": {"kl": 0.0}}, None)
    found = []
    for step, sigma in enumerate(sigmas):
        rows = torch.arange(64) + 64 * step
        found.append(update_of(now, Batch(gipo, {"sigma": sigma}, now.advantage, samples, rows)).clone())
        now.step += 1
    weights = torch.cat([parameter.detach().flatten() for parameter in policy.parameters()])
    return weights, torch.stack(found), now.optimizer.param_groups[0]["lr"]


@pytest.mark.parametrize(("sigmas", "times"), [([1.0] * 18, 1), ([1.0] * 6 + [0.5] * 6 + [1.0] * 6, 3)])
def test_replays_have_their_own_rows_and_rate_and_new_settings_are_recorded_anew(samples, recordings, sigmas, times):
    ours = trained(samples, RecordedUpdates(CONFIG, torch.device("cuda")), sigmas)
    plain = trained(samples, lambda now, batch: update(CONFIG, now, batch), sigmas)
    assert len(recordings) == times
    for mine, other in zip(ours, plain, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=0)
    assert ours[2] == pytest.approx(CONFIG.learning_rate * 0.75)  # the eighteenth of twenty


def test_what_cannot_be_recorded_is_an_ordinary_update(samples, recordings):
    switched_off = TrainConfig("made-up", steps=20, cuda_graph=False)
    for updates in (RecordedUpdates(switched_off, torch.device("cuda")), RecordedUpdates(CONFIG, torch.device("cpu"))):
        trained(samples, updates, [1.0] * (WARM_UP + 2))
    policy = Policy(PolicySpec("gaussian", samples.observation.shape[1], samples.action.shape[1], (8,)))
    now = begun(CONFIG, policy, torch.ones(len(samples.reward)), {"warm_start": {"kl": 0.0}}, None)
    natural = RecordedUpdates(CONFIG, torch.device("cuda"))
    for _ in range(WARM_UP + 2):
        natural(now, Batch(trpo, {"radius": 0.01}, now.advantage, samples, torch.arange(64)))
    assert not recordings


def test_work_that_waits_for_the_gpu_is_done_as_it_is(recordings, monkeypatch):
    monkeypatch.setattr(recorded, "waits", lambda work: work() is not None)
    done = []
    once = Recorded(lambda: done.append(1) or done, wanted=True)
    for _ in range(5):
        once()
    assert len(done) == 5
    assert not recordings
