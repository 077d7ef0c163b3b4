"""Updates of our critics: the default's, which learns stretches of the log, and the value function of the others."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch

from gipo_cli.advantages import Progress, Task, path_consistency
from gipo_cli.advantages.networks import Networks
from gipo_cli.advantages.regression import regress, rows_of
from gipo_cli.advantages.standardised import Standardised
from gipo_cli.advantages.traces import discounted_returns
from gipo_cli.pieces import sharing
from gipo_cli.policies.policy import Policy, PolicySpec
from gipo_cli.training.order import generator
from gipo_cli.training.samples import Samples, to_samples
from tests.benchmarks import made_up
from tests.benchmarks.comparison import Comparison, Subject, Timed
from tests.benchmarks.made_up import ACTION, HIDDEN, OBSERVATION
from tests.benchmarks.scale import Scale

DISCOUNT = 0.997


def comparisons(scale: Scale) -> Iterator[Comparison]:
    """Both read 1,024 rows an update."""
    samples = samples_of(scale.rows)
    yield Comparison(
        "critic updates, batch 1024",
        "updates",
        {
            "path-consistency, V and A": lambda: Subject(_path_consistency(samples), 20),
            "regression of V, judged as it goes": lambda: Subject(_regression(samples), 60),
        },
        samples=1024,
        alone=True,
    )


def samples_of(rows: int) -> Samples:
    """The made-up log on the CPU."""
    return to_samples(made_up.log(rows), 0.1, 0, torch.device("cpu"))


def task(samples: Samples, updates: int, progress: Progress) -> Task:
    """The made-up log's, with a policy that is near enough to what made it."""
    torch.manual_seed(0)
    beta = Policy(PolicySpec("gaussian", OBSERVATION, ACTION, HIDDEN, "tanh"))
    return Task(samples, beta, None, DISCOUNT, 0.5, updates, 0, progress)


class Clock:
    """A progress that looks at the time as updates pass, so that what comes before and after them is not counted."""

    def __init__(self) -> None:
        self.first = self.last = 0.0
        self.updates = 0

    @contextmanager
    def phase(self, name: str, total: int) -> Iterator[Callable[..., None]]:
        """Between the first update's end and the last one's."""

        def advance(n: int = 1, **figures: object) -> None:
            self.last = time.perf_counter()
            self.first = self.first or self.last
            self.updates += n

        yield advance

    @property
    def timed(self) -> Timed:
        """The first update began before the clock did."""
        return Timed(self.updates - 1, self.last - self.first)


def _path_consistency(samples: Samples) -> Callable[[int], Timed]:
    def work(updates: int) -> Timed:
        clock = Clock()
        with sharing(0):
            path_consistency.estimate(task(samples, updates, clock.phase))
        return clock.timed

    return work


def _regression(samples: Samples) -> Callable[[int], None]:
    features, rows = Standardised(samples), rows_of(samples, generator(0, 0))
    networks = Networks(1, OBSERVATION, 1, generator(0, 1))
    goal = discounted_returns(samples, DISCOUNT)

    def errors(fitted: torch.nn.Module, batch: torch.Tensor) -> torch.Tensor:
        return (fitted(features[batch])[..., 0] - goal[batch]).square()

    return lambda updates: regress(networks, errors, rows, updates, lambda n: None)
