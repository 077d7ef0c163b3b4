"""Tails of known weight are recovered, and products of ratios lose episodes as they must."""

import itertools
import math

import numpy as np
import pytest
from arviz_stats.base import array_stats
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gipo_cli.diagnostics.by_time import by_time
from gipo_cli.diagnostics.clipping import outside_clip_fraction
from gipo_cli.diagnostics.ess import ess_fraction
from gipo_cli.diagnostics.horizon import ENOUGH, degeneracy
from gipo_cli.diagnostics.pareto_k import FEWEST, good_below, pareto_k, samples_needed
from gipo_cli.diagnostics.verdict import findings, horizon_finding

offline = settings(deadline=None, database=None, derandomize=True)


def pareto(k, n, seed=0):
    """Log of a Pareto variable whose tail has the shape k: P(w > x) = x^(-1 / k)."""
    return k * np.random.default_rng(seed).exponential(size=n)


@pytest.mark.parametrize("k", [0.2, 0.5, 0.8, 1.2, 3.0])
def test_the_shape_of_a_known_tail_is_recovered(k):
    n = 200_000
    found = pareto_k(pareto(k, n))
    # The maximum likelihood estimate of k from m exceedances has a standard error of (1 + k) / sqrt(m).
    assert abs(found - k) < 4 * (1 + k) / (3 * n**0.5) ** 0.5


# Around the size where PSIS takes another tail (225); at 10,000 3 sqrt(N) is a whole number.
@pytest.mark.parametrize("n", [FEWEST, 225, 226, 235, 236, 237, 1000, 9_999, 10_000, 10_001, 100_000])
def test_the_fit_is_that_of_arviz(n):
    x = np.random.default_rng(n).normal(0, 2, n)
    assert pareto_k(x) == pytest.approx(float(array_stats.psislw(-x)[1]), rel=1e-12)  # sums in another order
    narrow = x.astype(np.float32)
    assert pareto_k(narrow) == pytest.approx(float(array_stats.psislw(-narrow.astype(np.float64))[1]), rel=1e-12)


@pytest.mark.parametrize("ties", [1, 20, 24])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # arviz-stats divides by 0
def test_ties_at_the_threshold_are_fitted_as_arviz_fits_them(ties):
    x = np.r_[np.zeros(ties), np.linspace(0.1, 1, 25 - ties)]
    assert pareto_k(x) == pytest.approx(float(array_stats.psislw(-x)[1]), rel=1e-12)


def test_a_light_tail_has_a_small_shape():
    assert pareto_k(np.log(np.random.default_rng(0).uniform(0.5, 1.5, 100_000))) < 0


@pytest.mark.parametrize("scale", [300.0, 1e4, 1e6])
def test_weights_that_underflow_have_hills_estimate(scale):
    found = pareto_k(pareto(scale, 100_000))
    assert found == pytest.approx(scale, rel=4 / (3 * 100_000**0.5) ** 0.5)  # its standard error is k / sqrt(m)


def test_zero_weights_count_as_the_smallest():
    x = pareto(0.5, 10_000)
    x[:5000] = -np.inf
    assert pareto_k(x) == pytest.approx(0.5, abs=0.4)
    x[:-2] = -np.inf
    assert np.isfinite(pareto_k(x))


@offline
@given(arrays(np.float64, st.integers(FEWEST, 400), elements=st.floats(-1e4, 1e4)), st.floats(-1e3, 1e3))
def test_it_is_finite_or_refused_and_a_constant_changes_nothing(x, constant):
    try:
        found = pareto_k(x)
    except ValueError:
        return
    assert math.isfinite(found)
    if np.ptp(x) > 1e-3:  # below, adding a constant rounds the spread away
        assert pareto_k(x + constant) == pytest.approx(found, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (np.zeros(FEWEST - 1), "there are fewer than 25 samples"),
        (np.zeros(1000), "the largest weights are all alike"),
        (np.r_[0.0, np.full(999, -np.inf)], "fewer than two weights are above 0"),
    ],
)
def test_what_has_no_tail_is_refused(x, said):
    with pytest.raises(ValueError, match=said):
        pareto_k(x)


def test_thresholds_are_those_of_the_paper():
    assert good_below(100) == pytest.approx(0.5)
    assert good_below(2200) == pytest.approx(0.7, abs=2e-3)  # "about 0.7 where there are more than 2,200"
    assert good_below(10**6) == 0.7
    assert samples_needed(0.5) == pytest.approx(100)
    assert samples_needed(-1) == pytest.approx(10)
    assert samples_needed(1.0) == math.inf


@pytest.mark.parametrize(("k", "level"), [(0.3, "ok"), (0.9, "warning"), (1.3, "alarm"), (None, "note")])
def test_the_finding_says_whether_a_mean_settles(k, level):
    figures = {
        "ess_raw": 1.0, "ess_trust": 1.0, "pareto_k": (k, 10_000), "mean_ratio": (1.0, 0.1), "kl": (0.0, 0.1),
        "chi2": 0.0, "abs_log_ratio_p95": 0.0, "ppo_dead_fraction": 0.0, "suppressed_fraction": 0.0,
    }  # fmt: skip
    (found,) = [finding for finding in findings("steps", figures) if finding.name == "pareto_k"]
    assert (found.value, found.level) == (k, level)
    if level == "warning":
        assert "needs 1e+10 samples, there are 10,000" in found.meaning


def test_products_of_independent_ratios_lose_episodes_exponentially():
    episodes, longest, v = 40_000, 8, 0.1
    x = np.random.default_rng(0).normal(-v / 2, v**0.5, (episodes, longest))
    found = degeneracy(x.ravel(), np.repeat(np.arange(episodes), longest))
    assert found.steps == [1, 2, 4, 8]
    expected = np.exp(-v * np.array(found.steps))  # (E W)^2 / E W^2 of a log-normal product of variance v t
    np.testing.assert_allclose(found.ess_fraction, expected, rtol=0.03)  # 5 standard errors at t = 8
    assert found.reach == 8


def test_an_episode_that_ended_keeps_its_weight():
    x, episode = np.array([1.0, 2.0, 3.0, 0.5, -1.0]), np.array([7, 7, 7, 2, 9])
    found = degeneracy(x, episode)
    assert found.steps == [1, 2, 3]
    for t, share in zip(found.steps, found.ess_fraction, strict=True):
        assert share == pytest.approx(ess_fraction(np.array([x[: min(t, 3)].sum(), 0.5, -1.0])))


@pytest.mark.parametrize(
    ("spread", "level", "reach", "said"),
    [(0.0, "ok", 16, "leave 100% of them effective"), (0.6, "note", 2, "beyond step 2 of 16."),
     (9.0, "note", 0, "even at the first step of 16.")],
)  # fmt: skip
def test_how_far_products_reach(spread, level, reach, said):
    x = np.random.default_rng(0).normal(0, 1, (500, 16)) * spread * 1.5
    degenerate = degeneracy(x.ravel(), np.repeat(np.arange(500), 16))
    found = horizon_finding(degenerate)
    assert (found.level, found.value) == (level, reach)
    assert said in found.meaning
    shares = dict(zip(degenerate.steps, degenerate.ess_fraction, strict=True))
    assert all(share >= ENOUGH for t, share in shares.items() if t <= reach)


def test_weights_along_an_episode_are_those_of_its_stretches():
    lengths = [40, 3, 40, 17]
    episode, at = np.repeat(np.arange(4), lengths), np.concatenate([np.arange(n) for n in lengths])
    x = -0.1 * at  # further from beta with every step
    found = by_time(x, episode)
    assert (found[0].first, found[-1].last) == (0, 39)
    assert [b.first - a.last for a, b in itertools.pairwise(found)] == [1] * (len(found) - 1)
    assert sum(stretch.transitions for stretch in found) == 100
    for stretch in found:
        rows = (at >= stretch.first) & (at <= stretch.last)
        assert stretch.ess_fraction == pytest.approx(ess_fraction(x[rows]))
        assert stretch.kl == pytest.approx(-x[rows].mean())
        assert stretch.mean_ratio == pytest.approx(np.exp(x[rows]).mean())
    assert np.all(np.diff([stretch.kl for stretch in found]) > 0)


def test_episodes_of_one_step_are_one_stretch_and_a_huge_ratio_has_no_mean():
    (found,) = by_time(np.array([0.0, 1e4, 0.0]), np.arange(3))
    assert (found.first, found.last, found.transitions, found.mean_ratio) == (0, 0, 3, None)


@pytest.mark.parametrize("episodes", [1, 2, 5, 10])
def test_a_handful_of_episodes_vouches_for_no_reach(episodes):
    # One of ten is a tenth, always: the share alone would never be too small.
    x = np.random.default_rng(0).normal(0, 3, (episodes, 200)).ravel()
    found = degeneracy(x, np.repeat(np.arange(episodes), 200))
    assert found.reach < 50
    assert horizon_finding(found).level == "note"


def test_a_tail_beyond_any_number_of_samples_is_not_said_to_need_fewer_than_there_are():
    figures = {
        "ess_raw": 1.0, "ess_trust": 1.0, "pareto_k": (0.72, 100_000), "mean_ratio": (1.0, 0.1), "kl": (0.0, 0.1),
        "chi2": 0.0, "abs_log_ratio_p95": 0.0, "ppo_dead_fraction": 0.0, "suppressed_fraction": 0.0,
    }  # fmt: skip
    (found,) = [finding for finding in findings("steps", figures) if finding.name == "pareto_k"]
    assert "too slowly to be relied on, however many there are" in found.meaning


def test_outside_the_clip_on_either_side():
    assert outside_clip_fraction(np.log([0.79, 0.81, 1.19, 1.21])) == 0.5
