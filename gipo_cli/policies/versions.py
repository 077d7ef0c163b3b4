"""Several versions of a behaviour policy in one network."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gipo_cli.policies.policy import Policy, PolicySpec


class VersionedPolicy(nn.Module):
    """A policy that is told which version acted: pi(a | s, k), one network for all K of them.

    The version enters the first layer as a one-hot vector, so a version is an ordinary `Policy` with another bias
    there, and what all have in common is learned from the rows of all. Use it to clone a log that several policies
    recorded: one clone that knows no versions can only be their mixture.
    """

    def __init__(self, spec: PolicySpec, versions: int) -> None:
        """Make an untrained one.

        Args:
            spec: of a single version.
            versions: K.
        """
        super().__init__()
        self.spec, self.versions = spec, versions
        self.shared = Policy(spec)
        self.first_bias = nn.Parameter(torch.zeros(versions, spec.hidden_sizes[0]))
        self.is_discrete = self.shared.is_discrete

    def at(self, version: int) -> Policy:
        """One version as a policy of its own, which shares nothing with this one any more."""
        policy = Policy(self.spec)
        weights = dict(self.shared.state_dict())
        weights["fc0.bias"] = weights["fc0.bias"] + self.first_bias[version].detach()
        policy.load_state_dict(weights)
        return policy.to(self.first_bias.device)

    def log_prob(self, observation: Tensor, action: Tensor, pre_squash: Tensor | None, version: Tensor) -> Tensor:
        """Natural log of pi(a|s, k), [B]; arguments as of `Policy.log_prob`, and the version of each row, [B] int64."""
        return self.shared.log_prob(observation, action, pre_squash, F.embedding(version, self.first_bias))

    def logits(self, observation: Tensor, version: Tensor) -> Tensor:
        """Unnormalised log probabilities of a categorical policy, [B, K]."""
        return self.shared.logits(observation, F.embedding(version, self.first_bias))

    def mean_and_log_std(self, observation: Tensor, version: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation, each [B, A], as of `Policy.mean_and_log_std`."""
        return self.shared.mean_and_log_std(observation, F.embedding(version, self.first_bias))


Behaviour = Policy | VersionedPolicy  # what may stand for the policy, or the policies, that acted
