"""Bounds that assume nothing: their formulas, and how often they hold."""

import math

import numpy as np
import pytest

from gipo_cli.diagnostics.bound import bound
from gipo_cli.diagnostics.concentration import LARGEST_ADVANTAGE, surrogate_bounds
from gipo_cli.diagnostics.verdict import bounds_finding


def draw(rng, episodes, steps=5, sigma=1.0, spread=1.0):
    """Weights of GIPO at log ratios N(-v / 2, v), and advantages that go with them."""
    x = rng.normal(-(spread**2) / 2, spread, (episodes, steps))
    advantage = np.clip(x + rng.normal(0, 1, x.shape), -LARGEST_ADVANTAGE, LARGEST_ADVANTAGE)
    weight = np.exp(x - (x / sigma) ** 2 / 2)
    return weight.ravel(), advantage.ravel(), np.repeat(np.arange(episodes), steps)


def test_the_formulas_by_hand():
    weight, advantage, episode = np.array([1.0, 0.5, 1.5, 1.0]), np.array([2.0, -1.0, 9.0, 1.0]), np.array([3, 3, 8, 1])
    found = surrogate_bounds(weight, advantage, episode, 2.0, level=0.9)
    of_episode = np.array([1.0, (2.0 - 0.5) / 2, 1.5 * LARGEST_ADVANTAGE])  # 9 is cut at 5
    assert (found.mean, found.episodes, found.range) == (pytest.approx(of_episode.mean()), 3, 20.0)
    half = 20 * math.sqrt(math.log(2 / 0.1) / 6)
    assert found.hoeffding == pytest.approx((of_episode.mean() - half, of_episode.mean() + half))
    half = math.sqrt(2 * of_episode.var(ddof=1) * math.log(40) / 3) + 7 * 20 * math.log(40) / (3 * 2)
    assert found.empirical_bernstein == pytest.approx((of_episode.mean() - half, of_episode.mean() + half))


def test_they_hold_at_least_as_often_as_they_say():
    truth = surrogate_bounds(*draw(np.random.default_rng(99), 200_000), bound(1.0)).mean
    rng, held = np.random.default_rng(0), {"hoeffding": 0, "empirical_bernstein": 0}
    for _ in range(300):
        found = surrogate_bounds(*draw(rng, 60), bound(1.0), level=0.8)
        for name in held:
            low, high = getattr(found, name)
            held[name] += low <= truth <= high
    assert min(held.values()) >= 0.8 * 300  # they assume the worst, and the worst is not what was drawn


@pytest.mark.parametrize("name", ["hoeffding", "empirical_bernstein"])
def test_they_close_as_episodes_come(name):
    rng = np.random.default_rng(0)
    few, many = (surrogate_bounds(*draw(rng, n), bound(1.0)) for n in (1_000, 100_000))
    widths = [np.ptp(getattr(found, name)) for found in (few, many)]
    assert widths[0] / widths[1] > 9.9  # sqrt(100) of Hoeffding's, more where 1 / E counts


def test_variance_is_what_empirical_bernstein_gains_by():
    found = surrogate_bounds(*draw(np.random.default_rng(0), 20_000), bound(1.0))
    assert found.empirical_bernstein[0] > found.hoeffding[0]
    assert found.empirical_bernstein[0] > 0


@pytest.mark.parametrize(("episodes", "level"), [(20, "note"), (20_000, "ok")])
def test_the_finding_says_whether_there_are_enough_episodes(episodes, level):
    (found,) = bounds_finding(surrogate_bounds(*draw(np.random.default_rng(0), episodes), bound(1.0)))
    assert (found.level, found.value > 0) == (level, level == "ok")
    assert bounds_finding(None) == []


def test_one_episode_has_no_variance_and_a_weight_above_the_largest_no_bound():
    assert surrogate_bounds(np.ones(3), np.ones(3), np.zeros(3, int), 1.0).empirical_bernstein is None
    with pytest.raises(ValueError, match=r"a weight is 2\.0, above the largest, 1\.0"):
        surrogate_bounds(np.full(3, 2.0), np.ones(3), np.zeros(3, int), 1.0)
    with pytest.raises(ValueError, match="there are no samples"):
        surrogate_bounds(np.zeros(0), np.zeros(0), np.zeros(0, int), 1.0)
