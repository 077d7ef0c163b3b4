"""Log-probs of a log computed again from the policy that acted."""

from dataclasses import replace

import numpy as np
import torch

from gipo_cli.data.trajectories import BLOCK, Trajectories
from gipo_cli.errors import DataError
from gipo_cli.policies.acting import by
from gipo_cli.policies.policy import Policy


@torch.no_grad()
def recompute(log: Trajectories, policy: Policy) -> Trajectories:
    """The log with log beta(a|s) of every step as this policy gives it; marked `recomputed`, never `recorded`.

    Exact to float32 where pre-squash actions are there or nothing saturates.

    Raises:
        DataError: the policy's observations or actions are not those of the log.
    """
    spec, observed = policy.spec, int(np.prod(log.observations.shape[1:]))
    acted = log.action_space.dimensions
    found = (spec.distribution, spec.observation_size, spec.dimensions)
    if found != (log.convention, observed, acted):
        raise DataError(
            f"{log.name}: the policy is {found[0]} with {found[1]} observations and {by(found[2])} actions, "
            f"the log {log.convention} with {observed} and {by(acted)}.",
            "Give the policy that acted; --log-prob-convention says which density the log is of.",
        )
    values = np.empty(log.transitions, np.float32)
    for start in range(0, log.transitions, BLOCK):
        rows = slice(start, start + BLOCK)
        observation = torch.as_tensor(np.asarray(log.observations[rows], np.float32).reshape(-1, observed))
        action = np.asarray(log.actions[rows], np.int64 if log.action_space.is_discrete else np.float32)
        u = None if log.pre_squash_actions is None else np.asarray(log.pre_squash_actions[rows], np.float32)
        pre_squash = None if u is None else torch.as_tensor(u)
        values[rows] = policy.log_prob(observation, torch.as_tensor(action), pre_squash).numpy()
    return replace(log, behaviour_log_probs=values, log_probs_origin="recomputed")
