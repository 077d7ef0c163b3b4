"""`gipo inspect-weights` on runs of many steps: what `--json` prints, without Python's start."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from gipo_cli.config import TrainConfig
from gipo_cli.reports.weights import inspect_run
from gipo_cli.runs import RunDirectory
from tests.benchmarks.comparison import Comparison, Subject
from tests.benchmarks.made_up import EPISODE
from tests.benchmarks.scale import Scale


def comparisons(scale: Scale) -> Iterator[Comparison]:
    """One for each number of steps, held against reading the same arrays and no more."""
    for rows in scale.weight_rows:
        with tempfile.TemporaryDirectory() as place:
            run = Path(place) / "run"
            make_run(run, rows)
            yield Comparison(
                f"inspect-weights of {rows:,} steps",
                "runs",
                {
                    "gipo": lambda run=run: inspected(run),
                    "numpy reads log_ratios.npz alone (limit)": lambda run=run: read(run),
                },
                as_seconds=True,
                alone=True,
            )


def make_run(place: Path, rows: int) -> None:
    """A run directory as training leaves one, of made-up weights: log ratios of about half a nat, with mean ratio 1."""
    draw = np.random.default_rng(0)
    run = RunDirectory.create(place)
    run.write_config(TrainConfig("made-up").to_dict())
    run.update(status="finished", settings={}, dataset={"log_probs": "recorded"})
    episode = np.arange(rows) // EPISODE
    run.write_log_ratios(
        log_ratio=draw.normal(-0.125, 0.5, rows).astype(np.float32),
        advantage=draw.standard_normal(rows, np.float32),
        episode=episode,
        held_out=episode % 10 == 0,
        home=np.ones(rows, bool),
        step=np.asarray(2000),
    )


def inspected(run: Path) -> Subject:
    """One unit is one run."""

    def work(times: int) -> None:
        for _ in range(times):
            inspect_run(RunDirectory.open(run))

    return Subject(work)


def read(run: Path) -> Subject:
    """One unit is one run."""

    def work(times: int) -> None:
        for _ in range(times):
            with np.load(run / "log_ratios.npz") as archive:
                for name in archive.files:
                    archive[name]

    return Subject(work)
