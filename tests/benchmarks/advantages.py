"""Advantages of a whole log: what of them grows with its rows. The updates are few; `values` says what more cost."""

from collections.abc import Iterator

from gipo_cli.registry import ADVANTAGES
from gipo_cli.training.samples import Samples
from tests.benchmarks.comparison import Comparison, Subject
from tests.benchmarks.scale import Scale
from tests.benchmarks.values import Clock, samples_of, task

ESTIMATORS = ("path-consistency", "gae")  # the first is the default


def comparisons(scale: Scale) -> Iterator[Comparison]:
    """One for each size of log."""
    for rows in scale.advantage_rows:
        samples = samples_of(rows)
        yield Comparison(
            f"advantages of {rows:,} rows, {scale.advantage_updates} updates",
            "estimates",
            {name: lambda name=name, s=samples: estimator(name, s, scale.advantage_updates) for name in ESTIMATORS},
            as_seconds=True,
            alone=True,
        )


def estimator(name: str, samples: Samples, updates: int) -> Subject:
    """One unit is one estimate."""
    estimate = ADVANTAGES.load(name)

    def work(times: int) -> None:
        for _ in range(times):
            estimate(task(samples, updates, Clock().phase))

    return Subject(work)
