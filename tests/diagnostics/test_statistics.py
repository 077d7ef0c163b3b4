import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gipo_cli.diagnostics import Finding
from gipo_cli.diagnostics.bound import bound
from gipo_cli.diagnostics.clipping import ppo_dead_fraction
from gipo_cli.diagnostics.episodes import numbered
from gipo_cli.diagnostics.ess import ess, ess_fraction
from gipo_cli.diagnostics.histogram import counts, shared_edges
from gipo_cli.diagnostics.kl import kl_k1, kl_k3
from gipo_cli.diagnostics.mean_ratio import mean_ratio, mean_with_error
from gipo_cli.diagnostics.moments import weight_moments
from gipo_cli.diagnostics.second_moment import second_moment
from gipo_cli.diagnostics.suppression import suppressed_fraction
from gipo_cli.diagnostics.verdict import findings, verdict

columns = arrays(np.float64, st.integers(1, 50), elements=st.floats(-1e4, 1e4))
offline = settings(deadline=None, database=None, derandomize=True)


@pytest.mark.parametrize("shift", [0.25, 0.5, 1.0])
def test_shifted_gaussians(shift):
    z = np.random.default_rng(0).standard_normal(400_000)
    x = shift * z - shift**2 / 2  # N(shift, 1) against N(0, 1): a log-normal ratio of variance shift^2
    assert ess_fraction(x) == pytest.approx(math.exp(-(shift**2)), rel=0.03)
    assert kl_k1(x) == pytest.approx(shift**2 / 2, abs=0.01)
    assert kl_k3(x) == pytest.approx(shift**2 / 2, abs=0.01)
    assert weight_moments(x)["std"] == pytest.approx(math.sqrt(math.expm1(shift**2)), rel=0.03)
    assert second_moment(x) == pytest.approx(shift**2 + shift**4 / 4, rel=0.02)
    mean, error = mean_ratio(x, np.arange(x.size))
    assert error == pytest.approx(math.sqrt(math.expm1(shift**2) / x.size), rel=0.03)
    assert abs(mean - 1) < 4 * error


@offline
@given(columns, st.floats(-1e3, 1e3), st.randoms(use_true_random=False))
def test_effective_sample_size_properties(x, constant, random):
    shuffled = x.copy()
    random.shuffle(shuffled)
    assert 1 <= ess(x) <= x.size
    assert ess(x + constant) == pytest.approx(ess(x), rel=1e-6)
    assert ess(shuffled) == pytest.approx(ess(x))


@offline
@given(columns, st.integers(1, 80))
def test_histogram_keeps_every_value(x, bins):
    edges = shared_edges([x, x / 2], bins)
    assert (np.diff(edges) > 0).all()
    assert counts(x, edges).sum() == x.size
    assert counts(edges, edges).tolist() == np.histogram(edges, edges)[0].tolist()  # a value on an edge is above it
    np.testing.assert_array_equal(counts(x, edges), np.histogram(np.clip(x, edges[0], edges[-1]), edges)[0])


@offline
@given(arrays(np.int64, st.integers(1, 40), elements=st.integers(-3, 3)))
def test_episodes_are_numbered_wherever_their_rows_lie(episode):
    np.testing.assert_array_equal(numbered(episode), np.unique(episode, return_inverse=True)[1])


def test_small_closed_forms():
    assert ess(np.log([1.0, 2.0, 3.0])) == pytest.approx(36 / 14)
    assert ess(np.array([0.0, -np.inf])) == 1
    assert bound(1.0) == pytest.approx(math.exp(0.5))
    assert bound(40.0) is None
    assert suppressed_fraction(np.array([0, 9e-4, 2e-3, 1])) == 0.5
    ratios = np.log([1.3, 1.3, 0.7, 0.7])
    assert ppo_dead_fraction(ratios, np.array([1.0, -1.0, 1.0, -1.0])) == 0.5
    # Two episodes of two steps each: sums -1 and 1 about the mean, so se^2 = 2 / 1 * 2 / 16.
    assert mean_with_error(np.array([0.0, 1.0, 1.0, 1.0]), np.array([0, 0, 1, 1])) == (0.75, pytest.approx(0.25))


@pytest.mark.parametrize("statistic", [ess, kl_k1, kl_k3, second_moment, weight_moments, suppressed_fraction])
def test_no_samples_is_refused(statistic):
    with pytest.raises(ValueError, match="there are no samples"):
        statistic(np.array([]))


GOOD = {
    "ess_raw": 0.9, "pareto_k": (0.3, 1000), "ess_trust": 0.9, "mean_ratio": (1.0, 0.01), "kl": (0.05, 0.01),
    "chi2": 0.1, "abs_log_ratio_p95": 0.5, "ppo_dead_fraction": 0.1, "suppressed_fraction": 0.0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({}, "trust"),
        ({"ess_raw": 0.3}, "trust"),
        ({"ess_raw": 0.299}, "caution"),
        ({"ess_raw": 0.099}, "distrust"),
        ({"ess_trust": None}, "distrust"),
        ({"mean_ratio": (2.01, 1.0)}, "distrust"),
        ({"mean_ratio": (0.49, 1.0)}, "distrust"),
        ({"mean_ratio": (1.032, 0.01)}, "caution"),
        ({"mean_ratio": (1.03, 0.01)}, "trust"),
        ({"mean_ratio": (1.9, None)}, "trust"),
        ({"mean_ratio": (None, None)}, "distrust"),
        ({"kl": (5.0, 0.1)}, "trust"),
        ({"kl": (-0.04, 0.01)}, "caution"),
        ({"chi2": 1.01}, "caution"),
        ({"chi2": None}, "caution"),
        ({"abs_log_ratio_p95": 2.01}, "caution"),
        ({"ppo_dead_fraction": 0.9}, "trust"),
        ({"suppressed_fraction": 0.51}, "caution"),
    ],
)
def test_verdict_thresholds(changed, word):
    found = findings("held-out transitions", GOOD | changed)
    assert verdict(found) == word
    assert all(isinstance(item, Finding) and item.meaning and item.source for item in found)


def test_an_error_far_below_the_mean_keeps_its_digits():
    noise = np.random.default_rng(0).integers(-4, 5, 2000) * 2.0**-50
    episode = np.repeat(np.arange(20), 100)
    _, error = mean_with_error(noise, episode)
    # Without rounding 1 + noise has the same error: its digits end where those of 1 do.
    assert mean_with_error(1 + noise, episode) == (pytest.approx(1), pytest.approx(error, rel=1e-9, abs=0))
