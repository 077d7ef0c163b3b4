"""Every way of spoiling log-probs is named, and a log that is right raises nothing."""

from dataclasses import replace

import numpy as np
import pytest

from gipo_cli.data import catalog, repairs
from gipo_cli.data.checks import check
from gipo_cli.data.checks.sample import draw
from gipo_cli.data.log_prob_errors import log_jacobian
from gipo_cli.data.trajectories import ActionSpace, Trajectories
from tests.data.spoiling import gaussian, study


@pytest.fixture(scope="module")
def logs():
    squashed, choices = catalog.load("hopper-medium"), catalog.load("hopper-medium-replay")
    alone = replace(squashed, behaviour_weights=None)
    return {"squashed": (squashed, squashed), "alone": (alone, squashed), "replay": (choices, choices)}


@pytest.mark.parametrize("name", study.SPOILAGES)
def test_a_log_with_its_policy_says_what_was_done_to_it(logs, name):
    spoil, expected = study.SPOILAGES[name]
    spoiled = spoil(*logs["squashed"])
    if spoiled is None:
        assert name == "clipped actions"  # a squashed policy has none
        return
    assert [found[0] for found in study.reported(spoiled)] == expected


@pytest.mark.parametrize("name", ["nothing", "temperature 1.5"])
def test_a_narrow_squashed_policy_that_is_not_there_is_judged_by_a_clone(logs, name):
    spoil, expected = study.SPOILAGES[name]
    assert [found[0] for found in study.reported(spoil(*logs["alone"]))] == expected


@pytest.mark.parametrize("name", ["nothing", "base 2"])
def test_thirteen_policies_in_one_log_are_judged_by_a_clone(logs, name):
    spoil, expected = study.SPOILAGES[name]
    assert [found[0] for found in study.reported(spoil(*logs["replay"]))] == expected


@pytest.mark.parametrize("name", ["nothing", "probabilities", "late and base 10"])
def test_choices_without_their_policy_are_judged_by_a_clone(cartpole_log, name):
    whole = catalog.load(str(cartpole_log))
    spoil, expected = study.SPOILAGES[name]
    spoiled = spoil(replace(whole, behaviour_weights=None), whole)
    assert [found[0] for found in study.reported(spoiled)] == expected


@pytest.mark.parametrize("temperature", [1.0, 0.5, 1.5])
def test_a_temperature_is_found_and_measured(temperature):
    drawn = gaussian()
    # log N(a; mean, std) = -z^2 / 2 + c(s); at temperature T it is -z^2 / (2 T^2) + c(s) - 2 log T.
    c = -2 * np.log(0.4) - 0.8 * drawn.observations[:, 2] - np.log(2 * np.pi)
    values = (drawn.behaviour_log_probs - c) / temperature**2 + c - 2 * np.log(temperature)
    found = study.reported(replace(drawn, behaviour_log_probs=values))
    if temperature == 1.0:
        assert found == []
    else:
        assert [name for name, _, _ in found] == ["temperature"]
        # 4,800 steps know a width to about 1 %; the fit adds a few.
        assert found[0][2] == pytest.approx(temperature, rel=0.1)


@pytest.mark.parametrize("name", ["base 10", "action-scale Jacobian", "one a dimension"])
def test_a_gaussian_without_its_policy_is_judged_by_a_clone(name):
    spoil, expected = study.SPOILAGES[name]
    log = gaussian()
    assert [found[0] for found in study.reported(spoil(log, log))] == expected


@pytest.mark.parametrize("std", [1e-3, 50.0])
def test_a_very_narrow_or_wide_policy_raises_nothing(std):
    log = gaussian(std=std)
    assert study.reported(log) == []


def test_no_undoing_that_makes_it_worse_names_the_log_probs_of_a_narrow_policy():
    rng = np.random.default_rng(6)
    drawn = gaussian(steps=200)
    mean = np.tanh(drawn.observations @ rng.standard_normal((3, 32))) @ rng.standard_normal((32, 1)) / 4
    noise = rng.standard_normal(mean.shape)
    values = (-0.5 * noise**2 - np.log(0.01) - 0.5 * np.log(2 * np.pi)).sum(1)
    space = ActionSpace((1,), np.full(1, -9, np.float32), np.full(1, 9, np.float32))
    narrow = replace(
        drawn, actions=(mean + 0.01 * noise).astype(np.float32), behaviour_log_probs=values, action_space=space
    )
    assert study.reported(narrow) == []


def test_a_small_log_of_many_dimensions_raises_nothing():
    rng = np.random.default_rng(1)
    n, size = 1600, 8
    small = gaussian(episodes=16, steps=100)
    noise = rng.standard_normal((n, size))
    observations = rng.standard_normal((n, 4)).astype(np.float32)
    actions = observations @ rng.standard_normal((4, size)) + 0.3 * noise
    values = (-0.5 * noise**2 - np.log(0.3) - 0.5 * np.log(2 * np.pi)).sum(1)
    space = ActionSpace((size,), np.full(size, -9, np.float32), np.full(size, 9, np.float32))
    log = replace(small, observations=observations, actions=actions.astype(np.float32), behaviour_log_probs=values,
                  final_observations=np.zeros((16, 4), np.float32), action_space=space)  # fmt: skip
    assert study.reported(log) == []


def masked(choices=8, steps=12_000, seed=0):
    """Uniform over the choices that the state allows, as a recorder's random policy under an action mask draws."""
    rng = np.random.default_rng(seed)
    allowed = rng.random((steps, choices)) < 0.6
    allowed[:, 0] = True
    action = (allowed * rng.random((steps, choices))).argmax(1)
    ends = np.arange(steps) % 100 == 99
    return Trajectories(
        name="masked", source="memory", observations=allowed.astype(np.float32), actions=action,
        rewards=rng.standard_normal(steps), behaviour_log_probs=-np.log(allowed.sum(1)),
        terminated=np.zeros(steps, bool), truncated=ends, convention="categorical",
        action_space=ActionSpace((), n=choices),
        final_observations=np.zeros((steps // 100, choices), np.float32), episode_starts=np.arange(0, steps + 1, 100),
    )  # fmt: skip


@pytest.mark.parametrize("name", ["nothing", "base 2"])
def test_choices_that_are_never_made_do_not_pass_for_wrong_log_probs(name):
    spoil, expected = study.SPOILAGES[name]
    log = masked()
    assert [found[0] for found in study.reported(spoil(log, log))] == expected


def test_states_that_change_along_a_log_are_not_several_policies():
    still = gaussian(std=0.05)
    drifting = still.observations + np.linspace(-2, 2, still.transitions, dtype=np.float32)[:, None] * [1, 1, 0]
    actions = still.actions + 0.6 * (drifting - still.observations)[:, :2]
    log = replace(still, observations=drifting.astype(np.float32), actions=actions.astype(np.float32))
    assert study.reported(log) == []
    # A policy that changes, in states that do not:
    later = np.linspace(0, 1, still.transitions, dtype=np.float32)[:, None]
    assert [name for name, *_ in study.reported(replace(still, actions=still.actions + later))] == ["several-policies"]


def test_few_long_episodes_are_enough_to_judge():
    log = gaussian(episodes=20, steps=200)
    sample = draw(log, 1000, episodes=15)
    assert (sample.episode[-1] + 1, len(sample.values)) == (15, 3000)
    assert len(draw(log, 300, episodes=15).values) == 1400  # no more than five times the rows


def test_a_squashed_policy_that_is_nearly_always_at_its_bounds_raises_no_error():
    drawn = gaussian()
    u = drawn.actions.astype(np.float64) * 40
    values = drawn.behaviour_log_probs - 2 * np.log(40) - log_jacobian(u)
    log = replace(drawn, convention="tanh_gaussian", actions=np.tanh(u).astype(np.float32), behaviour_log_probs=values)
    assert [severity for _, severity, _ in study.reported(log)] == ["warning"]  # saturated-actions


def test_clipped_actions_are_told_from_a_gaussian_that_stays_inside():
    log = gaussian()
    inside = replace(log, actions=log.actions * 0.05)
    assert [f.name for f in check(replace(log, actions=np.clip(log.actions, -1, 1))) if f.severity == "error"] == [
        "clipped-actions"
    ]
    assert "clipped-actions" not in [f.name for f in check(inside)]


MENDED = {
    "probabilities": "log", "base 2": "base2", "base 10": "base10", "sign flipped": "negate",
    "no squashing Jacobian": "jacobian", "action-scale Jacobian": "action-scale", "one a dimension": "sum-dimensions",
    "temperature 2": "recompute", "late and base 10": "shift,base10",
}  # fmt: skip


@pytest.mark.parametrize("name", MENDED)
def test_what_a_finding_says_mends_it_does(logs, name):
    spoil, _ = study.SPOILAGES[name]
    log, whole = logs["squashed"]
    spoiled = spoil(log, whole)
    named = [finding.repair for finding in check(spoiled) if finding.severity == "error"]
    assert ",".join(named) == MENDED[name]
    mended = repairs.apply(spoiled, tuple(named))
    assert mended.repairs == tuple(named)
    assert study.reported(mended) == []
    if "shift" not in named:
        # float32 log-probs of size 10, through an exp and back or recomputed
        np.testing.assert_allclose(mended.behaviour_log_probs, log.behaviour_log_probs, atol=2e-3)


@pytest.mark.parametrize(("name", "repair", "edge"), [("a step late", "shift", -1), ("a step early", "unshift", 0)])
def test_a_shift_gives_up_the_row_of_each_episode_that_has_no_value(logs, name, repair, edge):
    log, whole = logs["squashed"]
    mended = repairs.apply(study.SPOILAGES[name][0](log, whole), (repair,))
    assert mended.transitions == log.transitions - log.episodes
    kept = np.ones(log.transitions, bool)
    kept[log.episode_starts[1:] - 1 if edge else log.episode_starts[:-1]] = False
    np.testing.assert_array_equal(mended.behaviour_log_probs, log.behaviour_log_probs[kept])
    np.testing.assert_array_equal(mended.observations, log.observations[kept])
    if edge:  # the observation of the row that went is the one the episode ends on
        np.testing.assert_array_equal(mended.final_observations, log.observations[log.episode_starts[1:] - 1])
        assert mended.truncated[mended.episode_starts[1:] - 1].all()
        assert not mended.terminated.any()
