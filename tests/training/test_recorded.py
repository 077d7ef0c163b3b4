"""What a recorded update is told before each replay, and when it is recorded anew; test_cuda.py has real graphs."""

from contextlib import contextmanager

import pytest
import torch

from gipo_cli.config import TrainConfig
from gipo_cli.objectives.gipo import gipo
from gipo_cli.objectives.trpo import trpo
from gipo_cli.policies.policy import Policy, PolicySpec
from gipo_cli.training import recorded
from gipo_cli.training.recorded import WARM_UP, RecordedUpdates
from gipo_cli.training.samples import to_samples
from gipo_cli.training.state import begun
from gipo_cli.training.update import Batch, take_step, update
from tests.benchmarks import made_up

CONFIG = TrainConfig("made-up", steps=20)  # the learning rate falls over the last four


@pytest.fixture(scope="module")
def samples():
    return to_samples(made_up.log(2_000), 0.1, 0, torch.device("cpu"))


class Graph:
    """Stands for a CUDA graph on a machine without one: it replays the call that was made while it was recorded."""

    recordings = 0

    def replay(self):
        self.result.copy_(take_step(*self.call))


@pytest.fixture
def graphs(monkeypatch):
    Graph.recordings = 0

    @contextmanager
    def record(graph):
        def note(*call):
            graph.call, graph.result = call, torch.empty(2)
            return graph.result

        Graph.recordings += 1
        monkeypatch.setattr(recorded, "take_step", note)
        yield

    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", record)
    monkeypatch.setattr(RecordedUpdates, "_warm_up", warm_up)
    return Graph


def warm_up(self, now, batch):
    self._warm_ups += 1
    return update(self.config, now, batch)


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


@pytest.mark.parametrize(("sigmas", "recordings"), [([1.0] * 18, 1), ([1.0] * 6 + [0.5] * 6 + [1.0] * 6, 3)])
def test_replays_have_their_own_rows_and_rate_and_new_settings_are_recorded_anew(samples, graphs, sigmas, recordings):
    ours = trained(samples, RecordedUpdates(CONFIG, torch.device("cuda")), sigmas)
    plain = trained(samples, lambda now, batch: update(CONFIG, now, batch), sigmas)
    assert graphs.recordings == recordings
    for mine, other in zip(ours, plain, strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=0)
    assert ours[2] == pytest.approx(CONFIG.learning_rate * 0.75)  # the eighteenth of twenty


def test_what_cannot_be_recorded_is_an_ordinary_update(samples, graphs):
    switched_off = TrainConfig("made-up", steps=20, cuda_graph=False)
    for updates in (RecordedUpdates(switched_off, torch.device("cuda")), RecordedUpdates(CONFIG, torch.device("cpu"))):
        trained(samples, updates, [1.0] * (WARM_UP + 2))
    policy = Policy(PolicySpec("gaussian", samples.observation.shape[1], samples.action.shape[1], (8,)))
    now = begun(CONFIG, policy, torch.ones(len(samples.reward)), {"warm_start": {"kl": 0.0}}, None)
    natural = RecordedUpdates(CONFIG, torch.device("cuda"))
    for _ in range(WARM_UP + 2):
        natural(now, Batch(trpo, {"radius": 0.01}, now.advantage, samples, torch.arange(64)))
    assert graphs.recordings == 0
