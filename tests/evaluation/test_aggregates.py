"""Figures over logs against what a person computes, and their intervals against what intervals must do."""

import numpy as np
import pytest
from scipy import stats

from gipo_cli.evaluation.aggregates import interquartile_mean, mean, probability_of_improvement


def arrays(*logs):
    return [np.array(log, float) for log in logs]


@pytest.mark.parametrize(
    ("logs", "expected"),
    [
        ([[80, 2, 3, 4, 5, 6, 7, 1]], 4.5),  # 3 to 6 stay, whatever the order
        ([[100, 2, 3, -50]], 2.5),  # one of four goes from either end
        ([[0, 1, 2, 3], [10, 11, 12, 999]], 6.5),  # over both logs together: 2, 3, 10 and 11 stay
        ([[1, 2, 30]], 11.0),  # below four runs it is the mean
        ([[1, 2, 3, 4, 100]], 3.0),  # floor(5 / 4) = 1 from either end
    ],
)
def test_the_interquartile_mean_is_that_of_the_middle_half(logs, expected):
    assert interquartile_mean(arrays(*logs))["value"] == pytest.approx(expected)


def test_the_mean_gives_every_log_the_same_weight():
    assert mean(arrays([1, 1, 1, 1, 1, 1], [4, 4, 4]))["value"] == 2.5


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([[1, 2, 3]], [[0, 0, 0]], 1.0),
        ([[0, 0, 0]], [[1, 2, 3]], 0.0),
        ([[1, 2, 3]], [[1, 2, 3]], 0.5),
        ([[2, 4]], [[1, 2, 3]], (1 + 0.5 + 3) / 6),  # 2 beats 1 and ties with 2; 4 beats all three
        ([[2, 4], [0, 0, 0]], [[1, 2, 3], [5, 5, 5]], 0.375),  # 0.75 on one log, 0 on the other
        ([[1, 1, 1]], [[1, 1, 1]], 0.5),
    ],
)
def test_the_probability_of_improvement_counts_pairs(first, second, expected):
    assert probability_of_improvement(arrays(*first), arrays(*second))["value"] == pytest.approx(expected)


def test_it_does_not_change_when_a_log_is_rescaled():
    rng = np.random.default_rng(0)
    first, second = (list(rng.normal(size=(2, 5))) for _ in range(2))
    before = probability_of_improvement(first, second)
    stretched = [[logs[0], 1000 * logs[1] - 7] for logs in (first, second)]
    assert probability_of_improvement(*stretched) == before


def test_seeds_are_resampled_within_their_log_and_never_across():
    # Two logs far apart, each without any spread: no resample within logs can move the mean.
    found = mean(arrays([0, 0, 0], [100, 100, 100]))
    assert (found["lower"], found["value"], found["upper"]) == (50, 50, 50)


def test_an_interval_is_the_same_every_time_and_narrows_with_seeds():
    rng = np.random.default_rng(1)
    few, many = ([rng.normal(size=n) for _ in range(3)] for n in (5, 80))
    assert interquartile_mean(few) == interquartile_mean(few)
    widths = [found["upper"] - found["lower"] for found in map(interquartile_mean, (few, many))]
    # Four times as narrow with sixteen times the seeds, give or take.
    assert 2.5 < widths[0] / widths[1] < 7


def test_intervals_cover_the_truth_as_often_as_they_claim():
    """Of 200 repetitions with 20 seeds on each of 3 logs: 95 % of them, less what the bootstrap is known to lose."""
    rng = np.random.default_rng(2)
    covered = 0
    for _ in range(200):
        found = interquartile_mean([rng.normal(size=20) for _ in range(3)])  # of which the truth is 0, by symmetry
        covered += found["lower"] <= 0 <= found["upper"]
    assert stats.binomtest(covered, 200, 0.93).pvalue > 0.01, covered


@pytest.mark.parametrize("logs", [[[1.0, 2.0]], [[1.0, 2.0, 3.0], [4.0]]])
def test_fewer_than_three_seeds_get_no_interval(logs):
    for figure in (interquartile_mean, mean):
        found = figure(arrays(*logs))
        assert (found["lower"], found["upper"]) == (None, None)
    found = probability_of_improvement(arrays([1, 2, 3]), arrays([1, 2]))
    assert (found["lower"], found["upper"]) == (None, None)
