"""What the held-out episodes must show before a policy is kept."""

import numpy as np
import pytest
import torch

from gipo_cli.diagnostics import bootstrap
from gipo_cli.diagnostics.bootstrap import FEWEST_EPISODES, RESAMPLES, lower_bound
from gipo_cli.training.certificate import certify, surrogate_lower_bound

EPISODES, STEPS = 40, 50


def rows(shift=0.3, episodes=EPISODES, seed=0):
    """Steps whose log ratio follows the advantage by `shift`; its ratios have mean 1."""
    generator = torch.Generator().manual_seed(seed)
    advantage = torch.randn(episodes * STEPS, generator=generator)
    return shift * advantage - shift**2 / 2, advantage, torch.arange(episodes).repeat_interleave(STEPS)


def test_a_policy_that_follows_advantages_that_hold_is_certified():
    found = certify(*rows(), explained_lower=0.5)
    assert (found.certified, found.reason) == (True, "")
    # x = s A - s^2 / 2 tilts A ~ N(0, 1) to N(s, 1), so the surrogate is s = 0.3; 2,000 rows leave 0.03 of error.
    assert 0.3 - 0.12 < found.surrogate_lower < 0.3
    # Kish's share of log-normal weights of variance s^2 is exp(-s^2).
    assert found.ess_fraction == pytest.approx(torch.tensor(-0.09).exp().item(), abs=0.05)


@pytest.mark.parametrize(
    ("arguments", "explained_lower", "reason"),
    [
        ({}, 0.2, "the advantages explain too little of held-out returns: 0.20, below 0.25"),
        ({}, -0.1, "the advantages explain too little of held-out returns: -0.10, below 0.25"),
        ({"shift": 0.0}, 0.5, "the held-out surrogate is not above 0 by more than chance"),
        ({"shift": -0.3}, 0.5, "the held-out surrogate is not above 0 by more than chance"),
        ({"shift": 2.5}, 0.5, "of the held-out steps count for the new policy"),
        ({"episodes": FEWEST_EPISODES - 1}, 0.5, "fewer than 5 episodes are held out, too few to tell"),
        ({}, None, "fewer than 5 episodes are held out, too few to tell"),
    ],
)
def test_anything_less_is_refused_with_its_reason(arguments, explained_lower, reason):
    found = certify(*rows(**arguments), explained_lower=explained_lower)
    assert not found.certified
    assert reason in found.reason


@pytest.mark.filterwarnings("error")
def test_where_all_weight_is_in_one_episode_resamples_without_it_count_as_the_worst():
    advantage, episode = np.array([3.0, -1.0, 0.0, 1.0, 2.0, -2.0]), np.arange(6)
    weighed = np.where(episode == 0, 0.0, -1e4)  # a weight of 0 in float64 but for the first
    # (5/6)^6 = 0.33 of the resamples lack episode 0: the worst of all, -2 less the mean of what was drawn.
    assert -2 - 1.5 < surrogate_lower_bound(weighed, advantage, episode, 0.95) < -2
    alone = np.where(episode == 0, 0.0, -700.0)  # e^-700 is no 0, and what is not 0 decides
    assert surrogate_lower_bound(alone, advantage, episode, 0.95) > -2


def test_the_lower_bound_of_a_mean_is_the_normal_one_and_unknown_for_a_few_episodes():
    sums = torch.randn(400, 1, generator=torch.Generator().manual_seed(0)).double().numpy()
    found = lower_bound(sums, lambda total: total[:, 0] / 400)
    # One-sided 95 %: mean - 1.645 s / sqrt(n); 2,000 resamples leave 3 % of the half-width.
    assert found == pytest.approx(sums.mean() - 1.645 * sums.std() / 20, abs=0.01)
    assert lower_bound(sums[:4], lambda total: total[:, 0]) is None


def test_of_many_episodes_neighbours_are_drawn_together_and_the_bound_is_the_normal_one(monkeypatch):
    monkeypatch.setattr(bootstrap, "MOST_DRAWN", 200)
    sums = np.random.default_rng(0).normal(size=(1501, 2)) + 1  # 187 times 8, and 5 that are left
    found = lower_bound(sums, lambda total: (total / total[:, 1:])[:, 0])
    exact = sums[:, 0].sum() / sums[:, 1].sum()
    spread = (sums[:, 0] - exact * sums[:, 1]).std() / sums[:, 1].mean() / len(sums) ** 0.5
    # As above, 3 %; that the spread of 188 sums is known to 1 / sqrt(2 * 188) of itself adds 5 %.
    assert found == pytest.approx(exact - 1.645 * spread, abs=0.1 * 1.645 * spread)
    monkeypatch.setattr(bootstrap, "_drawn", lambda episodes: np.full((1, episodes), float(episodes == 188)))
    assert lower_bound(sums, lambda total: total[:, 0]) == pytest.approx(sums[:, 0].sum())  # no one is left out


def test_the_resamples_are_those_of_the_number_of_episodes_however_often_they_are_asked_for():
    def drawn_anew(sums):
        drawn = np.random.default_rng(0).multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=RESAMPLES)
        return float(np.quantile((drawn @ sums)[:, 0], 0.05))

    many, few = (np.random.default_rng(n).normal(size=(n, 1)) for n in (60, 30))
    for sums in (many, many, few, many):
        # BLAS may add a row up in another order.
        assert lower_bound(sums, lambda total: total[:, 0]) == pytest.approx(drawn_anew(sums), rel=1e-12)
