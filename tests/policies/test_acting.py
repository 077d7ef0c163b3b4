"""What an environment is given: by hand, and beside Stable-Baselines3's own scaling."""

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete, MultiDiscrete

from gipo_cli.errors import DataError, SettingError
from gipo_cli.policies.acting import given_to, require_fit, space_of
from gipo_cli.policies.policy import Policy, PolicySpec

PENDULUM = Box(-2, 2, (1,), np.float32)
UNEVEN = Box(np.float32([-0.4, 0]), np.float32([0.4, 10]))


def test_a_squashed_action_is_stretched_to_the_bounds_and_a_gaussian_one_clipped():
    actions = np.float32([[-1], [-0.5], [0], [1]])
    assert given_to(PENDULUM, "tanh_gaussian", actions).ravel().tolist() == [-2, -1, 0, 2]
    assert given_to(PENDULUM, "gaussian", 3 * actions).ravel().tolist() == [-2, -1.5, 0, 2]
    np.testing.assert_allclose(given_to(UNEVEN, "tanh_gaussian", np.float32([[0.5, 0.5]])), [[0.2, 7.5]], rtol=1e-6)


def test_bounds_of_1_and_missing_bounds_leave_a_squashed_action_as_it_is():
    actions = np.random.default_rng(0).uniform(-1, 1, (1000, 1)).astype(np.float32)
    for space in (Box(-1, 1, (1,), np.float32), Box(-np.inf, np.inf, (1,), np.float32)):
        np.testing.assert_array_equal(given_to(space, "tanh_gaussian", actions), actions)


def test_the_stretch_is_stable_baselines3s():
    sb3 = pytest.importorskip("stable_baselines3", reason="needs stable-baselines3")
    policy = sb3.SAC("MlpPolicy", "Pendulum-v1", device="cpu").policy
    actions = np.random.default_rng(0).uniform(-1, 1, (1000, 1)).astype(np.float32)
    np.testing.assert_array_equal(given_to(PENDULUM, "tanh_gaussian", actions), policy.unscale_action(actions))


def test_choices_are_counted_from_the_spaces_start():
    assert given_to(Discrete(3, start=-1), "categorical", np.array([0, 2])).tolist() == [-1, 1]
    knobs = MultiDiscrete([3, 5], start=[1, -2])
    assert given_to(knobs, "multi_categorical", np.array([[0, 0], [2, 4]])).tolist() == [[1, -2], [3, 2]]


@pytest.mark.parametrize("space", [MultiDiscrete([[2, 2], [3, 3]]), Box(-1, 1, (2, 2))])
def test_actions_of_another_kind_are_refused(space):
    env = gymnasium.make("Pendulum-v1").unwrapped
    env.action_space = space
    with pytest.raises(
        SettingError, match=r"(?s)Pendulum-v1 has actions in .*; expected Discrete, or a flat MultiDiscrete or Box\."
    ):
        space_of(env, "Pendulum-v1")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (PolicySpec("gaussian", 4, 1), "has 4 observations and 1 actions, the environment 3 and 1."),
        (PolicySpec("categorical", 3, 1), "acts by choices, the environment takes real numbers."),
        (
            PolicySpec("multi_categorical", 3, 5, choices=(2, 3)),
            "acts by choices, the environment takes real numbers.",
        ),
    ],
)
def test_a_policy_that_does_not_fit_is_refused(spec, message):
    with pytest.raises(DataError) as refused:
        require_fit(Policy(spec), gymnasium.make("Pendulum-v1"))
    assert refused.value.message == f"the policy {message}"


def test_choices_in_other_dimensions_are_refused():
    env = gymnasium.make("Pendulum-v1").unwrapped
    env.action_space = MultiDiscrete([3, 2])
    require_fit(Policy(PolicySpec("multi_categorical", 3, 5, choices=(3, 2))), env)
    with pytest.raises(DataError) as refused:
        require_fit(Policy(PolicySpec("multi_categorical", 3, 5, choices=(2, 3))), env)
    assert refused.value.message == ("the policy has 3 observations and 2 x 3 actions, the environment 3 and 3 x 2.")
