"""Intervals over seeds against scipy's own and a table of Student's t."""

import numpy as np
import pytest
from scipy import stats

from gipo_cli.evaluation.estimators import shares
from gipo_cli.evaluation.intervals import gain_over_episodes, mean_over_seeds, of_counts, of_mean


def test_students_interval_by_hand():
    found = mean_over_seeds(np.array([1.0, 2.0, 3.0]))
    # Standard deviation 1, t(0.975, 2) = 4.302653 of any table.
    assert found["mean"] == 2
    assert found["upper"] - 2 == pytest.approx(4.302653 / np.sqrt(3), rel=1e-6)
    assert 2 - found["lower"] == pytest.approx(found["upper"] - 2)
    assert mean_over_seeds(np.array([5.0])) == {"mean": 5.0, "lower": None, "upper": None}


def test_welchs_interval_is_scipys():
    rng = np.random.default_rng(0)
    seeds, episodes = rng.normal(3, 1, 5), rng.normal(1, 20, 100)
    expected = stats.ttest_ind(seeds, episodes, equal_var=False).confidence_interval(0.95)
    found = gain_over_episodes(seeds, episodes)
    assert (found["lower"], found["upper"]) == pytest.approx((expected.low, expected.high))


def test_seeds_that_are_all_alike_have_an_interval_all_the_same():
    found = gain_over_episodes(np.full(3, 7.0), np.array([1.0, 2.0, 3.0]))
    half = stats.t.ppf(0.975, 2) / np.sqrt(3)  # what is left is the episodes' own
    assert (found["lower"], found["upper"]) == pytest.approx((5 - half, 5 + half))
    found = gain_over_episodes(np.full(3, 7.0), np.full(9, 7.0))
    assert (found["mean"], found["lower"], found["upper"]) == (0, 0, 0)


def test_an_interval_of_a_mean_by_hand_and_with_an_error_from_elsewhere():
    found = of_mean(np.array([1.0, 2.0, 3.0]), 0.95)
    assert found["upper"] - 2 == pytest.approx(4.302653 / np.sqrt(3), rel=1e-6)
    wider = of_mean(np.array([1.0, 2.0, 3.0]), 0.95, other_error=1.0)
    assert wider["upper"] - 2 == pytest.approx(4.302653 * np.sqrt(1 / 3 + 1), rel=1e-6)
    assert of_mean(np.array([1e200, 2.0, 3.0]), 0.95) == {
        "mean": pytest.approx(1e200 / 3),
        "lower": None,
        "upper": None,
    }
    assert of_mean(np.array([1.0, np.inf]), 0.95) == {"mean": None, "lower": None, "upper": None}


def test_bca_by_counts_is_scipys_on_the_values_themselves():
    values = np.random.default_rng(0).exponential(1, 40)
    expected = stats.bootstrap(
        (values,), np.mean, n_resamples=2000, method="BCa", rng=np.random.default_rng(0), confidence_level=0.9
    ).confidence_interval
    found = of_counts(lambda counts: counts @ values / counts.sum(-1), 40, 0.9)
    assert found["mean"] == pytest.approx(values.mean())
    # The same resamples by the same seed, so only the order of summation differs.
    assert (found["lower"], found["upper"]) == pytest.approx((expected.low, expected.high), rel=1e-9)


def test_an_error_from_elsewhere_widens_both_sides_of_a_bootstrap():
    values = np.random.default_rng(0).exponential(1, 40)
    narrow, wide = (of_counts(lambda c: c @ values / c.sum(-1), 40, 0.95, other) for other in (0.0, 0.5))
    for side in ("lower", "upper"):
        expected = np.hypot(narrow[side] - narrow["mean"], 1.959964 * 0.5)
        assert abs(wide[side] - wide["mean"]) == pytest.approx(expected, rel=1e-5)


def test_no_interval_where_resamples_are_alike_or_drew_no_weight():
    assert of_counts(lambda counts: np.full(len(counts), 3.0), 10, 0.95) == {"mean": 3.0, "lower": None, "upper": None}
    lone = np.eye(10)[0]
    found = of_counts(lambda counts: shares(counts @ lone, counts @ lone), 10, 0.95)
    assert found == {"mean": 1.0, "lower": None, "upper": None}
