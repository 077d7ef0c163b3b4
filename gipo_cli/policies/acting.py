"""What an environment is given when a policy acts: one way, for recording and for evaluation."""

from typing import Any

import numpy as np

from gipo_cli.errors import DataError, SettingError


def space_of(environment: Any, environment_id: str = "") -> Any:
    """The action space of a Gymnasium environment whose observations and actions a policy here can have.

    Raises:
        SettingError: actions are neither Discrete, nor a flat MultiDiscrete or Box, or observations are not a Box.
    """
    from gymnasium.spaces import Box, Discrete, MultiDiscrete

    observed, acted = environment.observation_space, environment.action_space
    environment_id = environment_id or (environment.spec.id if environment.spec else "the environment")
    if not isinstance(observed, Box):
        raise SettingError(f"{environment_id} has {type(observed).__name__} observations; expected a Box.")
    if isinstance(acted, Discrete) or (isinstance(acted, Box | MultiDiscrete) and len(acted.shape) == 1):
        return acted
    raise SettingError(f"{environment_id} has actions in {acted}; expected Discrete, or a flat MultiDiscrete or Box.")


def choices_of(space: Any) -> tuple[int, ...]:
    """Choices of each dimension of a Gymnasium space: n of a Discrete, nvec of a MultiDiscrete, nothing of a Box."""
    if hasattr(space, "n"):
        return (int(space.n),)
    return tuple(map(int, getattr(space, "nvec", ())))


def require_fit(policy: Any, environment: Any, what: str = "the policy") -> None:
    """Refuse a policy of other observations or actions than the environment's.

    Raises:
        SettingError: no policy here fits, as `space_of`.
        DataError: says both sizes.
    """
    acted = space_of(environment)
    spec, choices = policy.spec, choices_of(acted)
    kinds = policy.is_discrete, bool(choices)
    if kinds[0] != kinds[1]:
        words = [("choices" if discrete else "real numbers") for discrete in kinds]
        raise DataError(f"{what} acts by {words[0]}, the environment takes {words[1]}.", _FIT_HINT)
    found = (spec.observation_size, spec.dimensions)
    expected = (int(np.prod(environment.observation_space.shape)), choices or (int(acted.shape[0]),))
    if found != expected:
        raise DataError(
            f"{what} has {found[0]} observations and {by(found[1])} actions, the environment {expected[0]} and "
            f"{by(expected[1])}.",
            _FIT_HINT,
        )


def by(dimensions: tuple[int, ...]) -> str:
    """Sizes in words: 3 x 5."""
    return " x ".join(map(str, dimensions))


_FIT_HINT = "Name the environment that the policy was made for with --environment."


def rescales(space: Any, distribution: str) -> bool:
    """Whether actions in [-1, 1] are stretched to the bounds: those of a squashed policy, where all are finite."""
    if distribution != "tanh_gaussian" or choices_of(space):
        return False
    return bool(np.isfinite(space.low).all() and np.isfinite(space.high).all())


def given_to(space: Any, distribution: str, actions: np.ndarray) -> np.ndarray:
    """What the environment is given for what a policy sampled.

        choices, each from 0     ->  a + start
        squashed, a in [-1, 1]   ->  low + (a + 1) / 2 (high - low)
        otherwise                ->  a clipped to [low, high]

    A log keeps the sampled action and its log-prob: the density of the stretched action would differ by the constant
    sum log((high - low) / 2), which no ratio pi / beta contains. The stretch is Stable-Baselines3's `unscale_action`.

    Args:
        space: Gymnasium's, Discrete, or a flat MultiDiscrete or Box.
        distribution: of the policy.
        actions: [B, A], or [B] of one choice.

    Returns:
        [B, A] or [B], of the type of `actions`.
    """
    if choices_of(space):
        return actions + np.asarray(getattr(space, "start", 0), actions.dtype)
    if not rescales(space, distribution):
        return np.clip(actions, space.low, space.high)
    if (space.low == -1).all() and (space.high == 1).all():
        return np.clip(actions, -1, 1)  # what a stretch by 1 would round, this leaves as it is
    stretched = space.low + 0.5 * (actions + 1) * (space.high - space.low)
    return np.clip(stretched, space.low, space.high).astype(actions.dtype)
