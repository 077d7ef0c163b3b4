"""Log-probs of a Gaussian vary by A / 2 given the state, and what varies otherwise is told by how much it does."""

from dataclasses import replace

import numpy as np
import pytest

from gipo_cli.data.checks.gaussian_law import laws_of
from gipo_cli.data.checks.sample import draw
from gipo_cli.data.log_prob_errors import log_jacobian
from tests.data.spoiling import gaussian, study

# 4,800 rows of A = 2 know a variance to (2 + 12 / A)^(1/2) / 960^(1/2) = 9 %; the network's own error adds to it.
WITHIN = 0.25


def law(log, values):
    sample = draw(replace(log, behaviour_log_probs=values), log.transitions)
    return laws_of(sample, sample.observations, sample.episode % 5 == 4, [values])[0], sample


@pytest.mark.parametrize("std", [1e-4, 0.4, 50.0])
def test_right_log_probs_follow_the_law_however_narrow_the_policy_is(std):
    found, _ = law(log := gaussian(std=std), log.behaviour_log_probs)
    assert found.holds()
    assert found.variance == pytest.approx(1, rel=WITHIN)
    assert found.skewness == pytest.approx(1, rel=WITHIN)
    assert found.error == pytest.approx((8 / 960) ** 0.5)  # (2 + 12 / 2) over a fifth of the rows


@pytest.mark.parametrize("factor", [1 / np.log(2), 1 / np.log(10), -1.0])
def test_a_factor_makes_the_variance_its_square_times_as_much(factor):
    log = gaussian()
    found, right = (law(log, log.behaviour_log_probs * k)[0] for k in (factor, 1.0))
    # The same network on the same standardised targets, or on their negatives, which it fits from another start.
    assert found.variance == pytest.approx(right.variance * factor**2, rel=0.02)
    assert found.skewness == pytest.approx(right.skewness * np.sign(factor), rel=0.02)
    assert not found.holds()
    assert found.is_tempered() == (factor > 0)


@pytest.mark.parametrize("squashed", [False, True])
@pytest.mark.parametrize("temperature", [0.5, 1.5, 2.0])
def test_another_temperature_is_measured_and_undone(temperature, squashed):
    log = gaussian(std=1e-3)
    c = -2 * np.log(1e-3) - 0.8 * log.observations[:, 2] - np.log(2 * np.pi)
    tempered = (log.behaviour_log_probs - c) / temperature**2 + c - 2 * np.log(temperature)
    right = log.behaviour_log_probs
    if squashed:
        jacobian = log_jacobian(log.actions)
        tempered, right = tempered - jacobian, right - jacobian
        log = replace(log, convention="tanh_gaussian", pre_squash_actions=log.actions, actions=np.tanh(log.actions))
    found, sample = law(log, tempered)
    assert not found.holds()
    assert found.temperature == pytest.approx(temperature, rel=WITHIN / 4)  # the fourth root of the variance
    # What is left of T^2 r is r to as much as T^2 is known, and r is of size 1.
    assert np.abs(found.at_one(tempered, sample) - right).mean() < WITHIN


def test_nothing_is_said_of_actions_that_are_too_near_a_bound_or_of_one_value():
    log = gaussian()
    assert law(log, np.full(log.transitions, -1.0))[0] is None
    u = log.actions * 9
    squashed = replace(log, convention="tanh_gaussian", actions=np.tanh(u))
    assert law(squashed, log.behaviour_log_probs - 2 * np.log(9) - log_jacobian(u))[0] is None


def test_steps_of_a_uniform_policy_do_not_count():
    log = gaussian()
    values = np.where(np.arange(log.transitions) < 1800, -20.0, log.behaviour_log_probs)
    assert law(log, values)[0].variance == pytest.approx(1, rel=WITHIN)


@pytest.mark.parametrize("name", ["base 2", "base 10", "sign flipped"])
def test_a_policy_too_narrow_for_any_clone_is_judged_by_the_law(name):
    spoil, expected = study.SPOILAGES[name]
    log = gaussian(std=1e-3)
    assert [found[0] for found in study.reported(spoil(log, log))] == expected


def test_right_log_probs_of_a_policy_that_is_no_gaussian_raise_nothing():
    log, rng = gaussian(), np.random.default_rng(3)
    mean = log.observations[:, :2] * 0.6 - 0.2
    wide = rng.random(log.transitions) < 0.2
    actions = mean + np.where(wide, 1.0, 0.2)[:, None] * rng.standard_normal(mean.shape)

    def density(std):
        return -0.5 * (((actions - mean) / std) ** 2).sum(1) - 2 * np.log(std) - np.log(2 * np.pi)

    values = np.logaddexp(np.log(0.2) + density(1.0), np.log(0.8) + density(0.2))
    mixture = replace(log, actions=actions.astype(np.float32), behaviour_log_probs=values)
    assert not law(mixture, values)[0].holds()
    assert study.reported(mixture) == []
