"""What is wrong with a log, before anything is trained on it: errors stop, warnings are shown and kept."""

from dataclasses import dataclass

import numpy as np

from gipo_cli.data.trajectories import Trajectories
from gipo_cli.errors import DataError

SATURATED = 1 - 1e-6  # |a| beyond this has lost its pre-squash value in float32
# A recorded and a recomputed log-prob of unsaturated actions agree to about 1e-4 nats in float32 (measured in
# formats' own tables up to 2e-3); a median of more than this is another policy, key or convention.
LARGEST_MEDIAN_DIFFERENCE = 0.01
COMPARED_ROWS = 20_000
MOST_CHOICES = 2**20  # a policy has a row of weights for each; a damaged header can claim 10^15


@dataclass(frozen=True)
class Finding:
    """Something a person should know about a log."""

    name: str
    value: float
    meaning: str


def check(log: Trajectories) -> list[Finding]:
    """Refuse a log that cannot be trained on; return what is merely doubtful.

    Raises:
        DataError: columns of different lengths, numbers that are not finite, or log-probs that cannot be right.
    """
    _require_lengths(log)
    _require_finite(log)
    _require_possible(log)
    return [*_doubtful_log_probs(log), *_saturation(log), *_other_policy(log)]


def _columns(log: Trajectories) -> dict[str, np.ndarray]:
    columns = {
        "observations": log.observations, "actions": log.actions, "rewards": log.rewards,
        "behaviour_log_probs": log.behaviour_log_probs, "terminated": log.terminated, "truncated": log.truncated,
        "pre_squash_actions": log.pre_squash_actions, "policy_versions": log.policy_versions,
    }  # fmt: skip
    return {name: column for name, column in columns.items() if column is not None}


def _require_lengths(log: Trajectories) -> None:
    steps = log.transitions
    for name, column in _columns(log).items():
        if len(column) != steps:
            raise DataError(f"{log.name}: '{name}' has {len(column)} rows, 'rewards' {steps}; expected as many.")
    if log.behaviour_log_probs.ndim != 1:
        raise DataError(
            f"{log.name}: the log-probs have shape {list(log.behaviour_log_probs.shape)}; expected [{steps}].",
            "Log-probs per dimension add up to the joint one: store their sum over the last axis.",
        )
    if len(log.final_observations) != log.episodes or (log.episode_lengths <= 0).any():
        raise DataError(f"{log.name}: its episodes do not cover its {steps} rows.")


def _require_finite(log: Trajectories) -> None:
    for name, column in {**_columns(log), "final_observations": log.final_observations}.items():
        if column.dtype.kind != "f":
            continue
        bad = ~np.isfinite(column.reshape(len(column), -1)).all(-1)
        if bad.any():
            row = int(bad.argmax())
            if name == "final_observations":
                where = f"episode {row}"
            else:
                where = f"row {row} (episode {np.searchsorted(log.episode_starts, row, 'right') - 1})"
            raise DataError(
                f"{log.name}: '{name}' holds a number that is not finite in {where}; {bad.sum()} rows in all.",
                "Drop those episodes from the log, or repair the column.",
            )


def _require_possible(log: Trajectories) -> None:
    n = log.action_space.n
    if n is None:
        return
    if n > MOST_CHOICES:
        raise DataError(f"{log.name}: its action space has {n:,} choices; up to {MOST_CHOICES:,} are taken.")
    if log.actions.min() < 0 or log.actions.max() >= n:
        raise DataError(f"{log.name}: actions range from {log.actions.min()} to {log.actions.max()} of {n} choices.")
    if log.behaviour_log_probs.max() > 1e-6:
        row = int(log.behaviour_log_probs.argmax())
        raise DataError(
            f"{log.name}: the log-prob of row {row} is {log.behaviour_log_probs[row]:.4g}; "
            "a natural log of a probability is 0 or below.",
            "Were probabilities stored in place of their logs?",
        )


def _doubtful_log_probs(log: Trajectories) -> list[Finding]:
    values = log.behaviour_log_probs
    if np.ptp(values) == 0:
        value = float(values[0])
        return [
            Finding("constant log-probs", value, f"every log-prob is {value:.4g}: right for a uniform policy only.")
        ]
    return []


def _saturation(log: Trajectories) -> list[Finding]:
    if log.convention != "tanh_gaussian" or log.pre_squash_actions is not None:
        return []
    share = float((np.abs(log.actions) >= SATURATED).any(-1).mean())
    if share == 0:
        return []
    meaning = f"{share:.2%} of the steps have an action that tanh rounded to a bound; their ratios are approximate."
    return [Finding("saturated actions", share, meaning)]


def _other_policy(log: Trajectories) -> list[Finding]:
    """Where the log carries its policy's weights, the log-probs must be that policy's."""
    weights = log.behaviour_weights
    if weights is None:
        return []
    import torch

    from gipo_cli.policies.weights import policy_from_arrays

    policy = policy_from_arrays(
        weights.arrays, nonlinearity=weights.nonlinearity, distribution=weights.output_distribution,
        observation_clip=weights.observation_clip, observation_epsilon=weights.observation_epsilon,
        log_std_bounds=weights.log_std_bounds, source=f"the behaviour policy in {log.name}",
    )  # fmt: skip
    rows = np.unique(np.linspace(0, log.transitions - 1, min(COMPARED_ROWS, log.transitions)).astype(int))
    if log.pre_squash_actions is None and log.convention == "tanh_gaussian":
        rows = rows[(np.abs(log.actions[rows]) < 0.999).all(-1)]
    if len(rows) == 0:
        return []
    spec = policy.spec
    observations = np.asarray(log.observations[rows], np.float32).reshape(len(rows), -1)
    if observations.shape[1] != spec.observation_size:
        raise DataError(
            f"{log.name}: its policy takes {spec.observation_size} observations, the log has {observations.shape[1]}."
        )
    size = log.action_space.n or int(np.prod(log.actions.shape[1:]))
    if (spec.distribution, spec.action_size) != (log.convention, size):
        raise DataError(
            f"{log.name}: its policy is {spec.distribution} with {spec.action_size} actions, "
            f"the log {log.convention} with {size}."
        )
    actions = torch.as_tensor(np.asarray(log.actions[rows], np.int64 if log.action_space.is_discrete else np.float32))
    u = (
        None
        if log.pre_squash_actions is None
        else torch.as_tensor(np.asarray(log.pre_squash_actions[rows], np.float32))
    )
    with torch.no_grad():
        recomputed = policy.log_prob(torch.as_tensor(observations), actions, u).numpy()
    difference = np.abs(recomputed - log.behaviour_log_probs[rows])
    median = float(np.median(difference))
    if median > LARGEST_MEDIAN_DIFFERENCE:
        raise DataError(
            f"{log.name}: its log-probs are not those of the policy it carries; they differ by {median:.3g} nats "
            f"in the median of {len(rows):,} steps.",
            "Shifted by a step, of another convention, or another policy's?\n"
            "Repair the column, or drop metadata/policy.",
        )
    return []
