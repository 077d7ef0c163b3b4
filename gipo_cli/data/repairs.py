"""`--repair`: what is wrong with a log and can be put right exactly, each by name.

A repair takes a log and gives a mended one, or says why it cannot. It never guesses: what the checks find and no repair
here mends has no exact remedy in the log itself.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import numpy as np

from gipo_cli.data.checks.structure import duplicate_episodes
from gipo_cli.data.log_prob_errors import LOG_PROB_ERRORS, LogProbError, Surroundings, log_jacobian, log_scale
from gipo_cli.data.selection import drop_edge_rows, take_episodes
from gipo_cli.data.trajectories import Trajectories
from gipo_cli.errors import DataError, unknown_name

# The rows that a shift leaves without a value of their own.
EDGE: dict[str, Literal["first", "last"]] = {"shift": "last", "unshift": "first"}


def apply(log: Trajectories, names: tuple[str, ...]) -> Trajectories:
    """Mend a log by each repair in turn; their names are kept in `repairs`.

    Raises:
        SettingError: there is no repair of a name.
        DataError: a repair cannot be applied to this log.
    """
    for name in names:
        if name not in REPAIRS:
            raise unknown_name("repair", name, REPAIRS)
        if name in log.repairs:
            raise DataError(f"{log.name} was mended by '{name}' already; a second time would spoil it.")
        log = replace(REPAIRS[name](log), repairs=(*log.repairs, name))
    return log


def _undo(error: LogProbError) -> Callable[[Trajectories], Trajectories]:
    def mend(log: Trajectories) -> Trajectories:
        values = log.behaviour_log_probs
        if values.ndim != 1:
            raise DataError(f"{log.name}: its log-probs are one a dimension.", "First: --repair sum-dimensions")
        undone = error.undo(np.asarray(values, np.float64), _surroundings(log))
        mended = None if undone is None else replace(log, behaviour_log_probs=undone)
        if mended is not None and error.repair in EDGE:
            return drop_edge_rows(mended, EDGE[error.repair])
        if undone is None or mended is None or not np.isfinite(undone).all():
            raise DataError(
                f"{log.name}: the repair '{error.repair}' cannot be applied: its log-probs are not {error.what}.",
                "`gipo datasets check` says what they are.",
            )
        return mended

    return mend


def _surroundings(log: Trajectories) -> Surroundings:
    first, last = np.zeros(log.transitions, bool), np.zeros(log.transitions, bool)
    first[log.episode_starts[:-1]] = last[log.episode_starts[1:] - 1] = True
    jacobian = None
    if log.convention == "tanh_gaussian":
        u = log.pre_squash_actions
        if u is None:
            u = np.arctanh(np.clip(log.actions.astype(np.float64), -1 + 2**-24, 1 - 2**-24))
        jacobian = log_jacobian(u)
    return Surroundings(first, last, jacobian, log_scale(log))


def _sum_dimensions(log: Trajectories) -> Trajectories:
    values = log.behaviour_log_probs
    if values.ndim != 2:
        raise DataError(f"{log.name}: its log-probs are one a step already; there is nothing to sum.")
    return replace(log, behaviour_log_probs=values.sum(-1, dtype=np.float64))


def _rescale_actions(log: Trajectories) -> Trajectories:
    """Actions in the environment's units to [-1, 1]; the log-probs stay as they are."""
    low, high = log.action_space.low, log.action_space.high
    if log_scale(log) is None or low is None or high is None:
        raise DataError(f"{log.name}: the bounds of its actions are not known; they cannot be rescaled.")
    middle, half = (high.astype(np.float64) + low) / 2, (high.astype(np.float64) - low) / 2
    scaled = (log.actions - middle) / half
    if np.abs(scaled).max() > 1 + 1e-6:
        raise DataError(f"{log.name}: actions reach beyond the bounds {low.tolist()} to {high.tolist()}.")
    return replace(log, actions=np.clip(scaled, -1, 1).astype(log.actions.dtype), executed_actions=log.actions)


def _timeouts(log: Trajectories) -> Trajectories:
    """Ends at the longest length are limits, not terminations."""
    last = log.episode_starts[1:] - 1
    longest = last[log.episode_lengths == log.episode_lengths.max()]
    terminated, truncated = np.array(log.terminated), np.array(log.truncated)
    terminated[longest], truncated[longest] = False, True
    return replace(log, terminated=terminated, truncated=truncated)


def _drop_not_finite(log: Trajectories) -> Trajectories:
    """Episodes with a number that is not finite go, whole: what follows a hole in one cannot be valued."""
    bad = np.zeros(log.transitions, bool)
    for column in log.columns().values():
        if column.dtype.kind == "f":
            bad |= ~np.isfinite(column.reshape(len(column), -1)).all(-1)
    bad_episode = np.logical_or.reduceat(bad, log.episode_starts[:-1])
    bad_episode |= ~np.isfinite(log.final_observations.reshape(log.episodes, -1)).all(-1)
    return take_episodes(log, np.flatnonzero(~bad_episode))


def _recompute(log: Trajectories) -> Trajectories:
    if log.behaviour_weights is None:
        raise DataError(
            f"{log.name} does not carry the policy that acted, so nothing can be recomputed from it.",
            "Give the policy: --behaviour POLICY.safetensors",
        )
    from gipo_cli.policies.recompute import recompute
    from gipo_cli.policies.weights import policy_from_weights

    return recompute(log, policy_from_weights(log.behaviour_weights, f"the behaviour policy in {log.name}"))


REPAIRS: dict[str, Callable[[Trajectories], Trajectories]] = {
    **{error.repair: _undo(error) for error in LOG_PROB_ERRORS},
    "sum-dimensions": _sum_dimensions,
    "rescale-actions": _rescale_actions,
    "timeouts": _timeouts,
    "drop-duplicates": lambda log: take_episodes(log, np.flatnonzero(~duplicate_episodes(log))),
    "drop-not-finite": _drop_not_finite,
    "drop-weights": lambda log: replace(log, behaviour_weights=None),
    "recompute": _recompute,
}
