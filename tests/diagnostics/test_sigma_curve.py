"""Bias and variance of sigma against their closed forms."""

import math

import numpy as np
import pytest

from gipo_cli.diagnostics.sigma_curve import SIGMAS, least, sigma_curve
from gipo_cli.diagnostics.verdict import sigma_finding


def log_ratios(n, v, seed=0):
    return np.random.default_rng(seed).normal(-v / 2, v**0.5, n)


def first_moment(sigma, v):
    """E[w] for x ~ N(-v / 2, v), by completing the square."""
    return sigma / math.sqrt(sigma**2 + v) * math.exp(-(v**2) / (8 * (sigma**2 + v)))


def second_moment(sigma, v):
    return sigma / math.sqrt(sigma**2 + 2 * v) * math.exp((sigma**2 * v - v**2 / 4) / (sigma**2 + 2 * v))


@pytest.mark.parametrize("v", [0.25, 1.0])
def test_bias_and_standard_error_are_those_of_a_normal_log_ratio(v):
    n = 400_000
    curve = sigma_curve(log_ratios(n, v), np.ones(n), np.arange(n))
    assert [error.sigma for error in curve] == [*SIGMAS, None]
    for error in curve[:-1]:
        first, second = first_moment(error.sigma, v), second_moment(error.sigma, v)
        assert error.mean == pytest.approx(first, abs=0.005)  # 4 standard errors at most
        assert error.bias == pytest.approx(first - 1, abs=0.01)
        assert error.standard_error == pytest.approx(math.sqrt((second - first**2) / n), rel=0.02)
    assert curve[-1].bias == 0
    assert curve[-1].standard_error == pytest.approx(math.sqrt(math.expm1(v) / n), rel=0.05)


def test_few_episodes_want_a_narrow_sigma_and_many_want_none():
    advantage = np.random.default_rng(1).normal(0, 1, 200_000)
    x = log_ratios(200_000, 4.0)
    few = least(sigma_curve(x[:200], advantage[:200], np.arange(200)))
    assert few.sigma is not None
    many = sigma_curve(x, np.ones(200_000), np.arange(200_000))
    assert least(many).sigma in (4.0, None)


def test_on_policy_all_are_alike_and_none_is_wanted():
    curve = sigma_curve(np.zeros(100), np.random.default_rng(0).normal(size=100), np.repeat(np.arange(20), 5))
    assert least(curve).sigma is None
    assert all(error.bias == 0 for error in curve)
    (found,) = sigma_finding(curve)
    assert "the undamped ratio estimates the surrogate best" in found.meaning


@pytest.mark.parametrize(
    ("x", "episode", "said"),
    [(np.array([800.0, 0.0]), np.arange(2), "beyond float64"), (np.zeros(5), np.zeros(5, int), "one episode alone"),
     (np.zeros(0), np.zeros(0, int), "no samples")],
)  # fmt: skip
def test_what_cannot_be_known_is_refused(x, episode, said):
    with pytest.raises(ValueError, match=said):
        sigma_curve(x, np.ones(len(x)), episode)
    assert sigma_finding(None) == []
