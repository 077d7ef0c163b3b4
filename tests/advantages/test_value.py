"""V in rounds, against values by a linear solve."""

import numpy as np
import pytest
import torch

from gipo_cli.advantages import value
from gipo_cli.advantages.regression import rows_of
from gipo_cli.advantages.standardised import Standardised
from gipo_cli.advantages.traces import lambda_returns
from gipo_cli.training.order import generator
from tests.advantages.corridor import DISCOUNT, STATES, corridor_samples, exact


def fitted(samples, decay=0.8, updates=500, **more):
    return value.fit_value(
        samples, Standardised(samples), rows_of(samples, generator(0, 2)),
        lambda found: lambda_returns(samples, found.after, DISCOUNT, decay),
        discount=DISCOUNT, updates=updates, seed=0, advance=lambda n=1: None, **more,
    )  # fmt: skip


# At lambda 0 nine rounds carry V nine steps back: enough where episodes end, not where all are cut after four steps.
@pytest.mark.parametrize(("decay", "cut"), [(0.0, 40), (0.8, 40), (0.8, 4), (1.0, 4)])
def test_it_finds_the_value_of_beta_whether_episodes_end_or_are_cut(decay, cut):
    samples = corridor_samples(2000, cut)
    found = fitted(samples, decay, updates=900, tolerance=None)
    state = samples.observation.argmax(-1)
    by_state = [found.now[0, state == s].mean().item() for s in range(STATES)]
    # A mean return of a state is known to 0.4 / sqrt(2,000) = 0.01; leaving out V of cut episodes would miss by 0.2.
    np.testing.assert_allclose(by_state, exact()[0], atol=0.04)
    assert (found.after[0, samples.terminated] == 0).all()
    inside = (~samples.episode_end).nonzero()[:, 0]
    assert torch.equal(found.after[0, inside], found.now[0, inside + 1])


def test_members_learn_from_the_episodes_drawn_for_them():
    samples = corridor_samples(60)
    drawn = torch.tensor([[1.0], [0.0]])
    found = fitted(samples, updates=60, members=2, weight=lambda rows: drawn.expand(2, len(rows)))
    assert found.now[0].std() > 0.01
    assert found.now[1].std() < 1e-6  # nothing was drawn: V stays at the mean that it began at


@pytest.mark.parametrize(
    ("tolerance", "rounds"),
    [(1.0, value.PATIENCE), (None, value.ROUNDS + 1)],  # an error that has to fall to 0 never does
)
def test_rounds_without_progress_end_the_fit(monkeypatch, tolerance, rounds):
    made, told, regress = [], [], value.regress
    monkeypatch.setattr(value, "regress", lambda *given: (made.append(given[3]), regress(*given)))
    samples = corridor_samples(60)
    value.fit_value(
        samples, Standardised(samples), rows_of(samples, generator(0, 2)),
        lambda found: lambda_returns(samples, found.after, DISCOUNT, 0.8),
        discount=DISCOUNT, updates=100, seed=0, advance=lambda n=1: told.append(n), tolerance=tolerance,
    )  # fmt: skip
    assert len(made) == rounds
    assert sum(told) == 100  # a bar that was promised 100 updates is told of 100
