"""Importance ratios per dimension of the action, as GIPO's authors take them, in place of the joint one."""

from dataclasses import replace
from functools import partial

import torch

from gipo_cli.data.trajectories import BehaviourWeights, Trajectories
from gipo_cli.errors import SettingError
from gipo_cli.policies.weights import policy_from_weights
from gipo_cli.training.samples import Samples


def require_dimensions(log: Trajectories) -> BehaviourWeights:
    """The policy that log beta of each dimension is computed from.

    Raises:
        SettingError: the action has no dimensions, or the log does not carry the policy.
    """
    if log.action_space.n is not None:
        raise SettingError(f"ratios=per-dimension: the actions of {log.name} are choices, which have no dimensions.")
    if log.behaviour_weights is None:
        raise SettingError(
            f"ratios=per-dimension: {log.name} does not carry the policy that acted, and its log-probs are joint.",
            "Give it with --behaviour POLICY, or leave the ratios joint.",
        )
    return log.behaviour_weights


@torch.no_grad()
def by_dimension(samples: Samples, log: Trajectories) -> Samples:
    """The samples with log beta of every dimension of the action, whose sum is the recorded one.

    A diagonal Gaussian and a multi_categorical draw their dimensions one by one, so each has a ratio of its own, and
    the log ratio of the action is their sum. A sigma for d ratios of one dimension each is wider than the same sigma
    for their product.

    Raises:
        SettingError: as `require_dimensions`.
    """
    beta = policy_from_weights(require_dimensions(log), f"the behaviour policy in {log.name}").to(samples.device)
    parts = samples.at_every_row(partial(samples.log_prob_parts, beta))
    return replace(samples, behaviour_log_prob_parts=parts)
