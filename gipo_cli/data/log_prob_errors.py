"""The ways in which recorded log-probs go wrong and can be put right exactly, each with its undoing.

One table serves both sides: the checks try each undoing on a sample and see which one makes the numbers right, and
`--repair` applies the same function to the whole column.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from gipo_cli.data.trajectories import Trajectories


@dataclass(frozen=True)
class Surroundings:
    """What an undoing may look at beside the values themselves; n rows, whole episodes.

    `jacobian` is sum log(1 - tanh(u)^2) of each row, none where nothing was squashed; `log_scale` is
    sum log((high - low) / 2) over the bounds of the actions, none where they are not known; `first` and `last` mark the
    first and last rows of episodes.
    """

    first: np.ndarray  # [n] bool
    last: np.ndarray  # [n] bool
    jacobian: np.ndarray | None = None  # [n]
    log_scale: float | None = None


@dataclass(frozen=True)
class LogProbError:
    """A mistake, the repair that undoes it, and the undoing: values [n] to log-probs [n], nan where there is none."""

    name: str
    repair: str
    what: str  # in words: "the log-probs are ..."
    undo: Callable[[np.ndarray, Surroundings], np.ndarray | None]


def log_jacobian(pre_squash: np.ndarray) -> np.ndarray:
    """Sum log(1 - tanh(u)^2) over dimensions, [n]; stable where tanh(u) rounds to 1."""
    u = pre_squash.astype(np.float64)
    return (2 * (np.log(2) - u - np.logaddexp(0, -2 * u))).sum(-1)


def log_scale(log: Trajectories) -> float | None:
    """Sum log((high - low) / 2) over the action's dimensions; none where a bound is not known or not finite."""
    low, high = log.action_space.low, log.action_space.high
    if low is None or high is None or not np.isfinite([low, high]).all() or (high <= low).any():
        return None
    return float(np.log((high.astype(np.float64) - low) / 2).sum())


def uniform_log_prob(log: Trajectories) -> float:
    """Log-prob of one choice among all, or of an action anywhere within the bounds ([-1, 1] where they are unknown)."""
    space = log.action_space
    if space.is_discrete:
        return -float(np.log(space.choices).sum())
    return -(log.actions[0].size * float(np.log(2)) + (log_scale(log) or 0.0))


def _log(values: np.ndarray, around: Surroundings) -> np.ndarray | None:
    if (values < 0).any():
        return None
    return np.log(values, out=np.full(values.shape, np.nan), where=values > 0)


def _from_next_row(values: np.ndarray, around: Surroundings) -> np.ndarray:
    return np.where(around.last, np.nan, np.roll(values, -1))


def _from_row_before(values: np.ndarray, around: Surroundings) -> np.ndarray:
    return np.where(around.first, np.nan, np.roll(values, 1))


def _with_jacobian(values: np.ndarray, around: Surroundings) -> np.ndarray | None:
    return None if around.jacobian is None else values - around.jacobian


def _without_scale(values: np.ndarray, around: Surroundings) -> np.ndarray | None:
    return None if not around.log_scale else values + around.log_scale


LOG_PROB_ERRORS = (
    LogProbError("probabilities", "log", "probabilities (or densities), not their logs", _log),
    LogProbError("base-10", "base10", "logs to base 10", lambda values, around: values * np.log(10)),
    LogProbError("base-2", "base2", "logs to base 2", lambda values, around: values * np.log(2)),
    LogProbError("sign-flipped", "negate", "negative log-probs", lambda values, around: -values),
    LogProbError("late-by-one-step", "shift", "those of the step before: row t + 1 has the value of t", _from_next_row),
    LogProbError("early-by-one-step", "unshift", "those of the step after: row t - 1 has that of t", _from_row_before),
    LogProbError(
        "no-squash-jacobian", "jacobian", "densities of the pre-squash action: the Jacobian of tanh lacks",
        _with_jacobian,
    ),
    LogProbError(
        "action-scale-jacobian", "action-scale",
        "densities in the environment's units, while the actions are stored in [-1, 1]", _without_scale,
    ),
)  # fmt: skip
