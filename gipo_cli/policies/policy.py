"""The policy network: raw observations in, a distribution over actions out."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from gipo_cli.policies import distributions
from gipo_cli.policies.layers import linear

LARGEST_LAYER = 65536  # a file may claim any size, and the network is built before its weights are seen
ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh}
DISTRIBUTIONS = ("gaussian", "tanh_gaussian", "categorical", "multi_categorical")


@dataclass(frozen=True)
class PolicySpec:
    """All that is needed to build a policy network before its weights are loaded."""

    distribution: str  # gaussian, tanh_gaussian, categorical or multi_categorical
    observation_size: int
    action_size: int  # dimensions of a continuous action, choices of a discrete one, of all its dimensions together
    hidden_sizes: tuple[int, ...] = (256, 256)
    activation: str = "relu"
    state_dependent_std: bool = True
    log_std_bounds: tuple[float, float] = (-20.0, 2.0)
    observation_clip: float = math.inf  # after standardisation
    choices: tuple[int, ...] = ()  # of each dimension of a multi_categorical action; their sum is action_size

    def __post_init__(self) -> None:
        """Refuse a description that no network has; it may come from a stranger's file.

        Raises:
            ValueError: says which field.
        """
        if self.distribution not in DISTRIBUTIONS:
            raise ValueError(f"its distribution is {self.distribution!r}")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"its activation is {self.activation!r}")
        sizes = (self.observation_size, self.action_size, *self.hidden_sizes)
        if any(type(size) is not int or not 1 <= size <= LARGEST_LAYER for size in sizes):
            raise ValueError(f"its layers have sizes {sizes}; expected 1 to {LARGEST_LAYER}")
        if self.distribution == "multi_categorical":
            if any(type(n) is not int or n < 1 for n in self.choices) or sum(self.choices) != self.action_size:
                raise ValueError(f"its {self.action_size} logits are of {list(self.choices)} choices")
        elif self.choices:
            raise ValueError(f"its distribution is {self.distribution!r}, which has no choices in several dimensions")
        low, high = self.log_std_bounds
        if not low < high or not self.observation_clip > 0:
            raise ValueError("its bounds are not in order")

    @property
    def dimensions(self) -> tuple[int, ...]:
        """Choices of each dimension of the action where it has several; else action_size alone."""
        return self.choices or (self.action_size,)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "PolicySpec":
        """The spec that `asdict` wrote, with JSON's lists back to tuples and null back to infinity."""
        values = dict(values)
        values["hidden_sizes"] = tuple(values["hidden_sizes"])
        values["log_std_bounds"] = tuple(values["log_std_bounds"])
        values["choices"] = tuple(values.get("choices", ()))
        clip = values["observation_clip"]
        values["observation_clip"] = math.inf if clip is None else clip
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, where infinity is null."""
        values = asdict(self)
        if math.isinf(self.observation_clip):
            values["observation_clip"] = None
        if not self.choices:
            del values["choices"]  # a spec of another kind reads as it always did
        return values


class Policy(nn.Module):
    """An MLP whose `log_prob` speaks the log's own convention.

    The observation is standardised inside, (o - observation_mean) / observation_scale, so a saved policy acts on raw
    observations. `head_parameters(observation)` gives mean and log_std [B, A], or the logits [B, K] of a choice;
    of a choice in each dimension they lie in a row, so K is the sum of `spec.choices`.
    Parameter names are D4RL's with dots: fc0.weight, ..., last_fc.weight, last_fc_log_std.weight or log_std.
    """

    observation_mean: Tensor
    observation_scale: Tensor

    def __init__(self, spec: PolicySpec) -> None:
        super().__init__()
        self.spec = spec
        self.is_discrete = spec.distribution in ("categorical", "multi_categorical")
        sizes = (spec.observation_size, *spec.hidden_sizes)
        for i, (fan_in, fan_out) in enumerate(pairwise(sizes)):
            self.add_module(f"fc{i}", nn.Linear(fan_in, fan_out))
        self.last_fc = nn.Linear(sizes[-1], spec.action_size)
        if not self.is_discrete:
            if spec.state_dependent_std:
                self.last_fc_log_std = nn.Linear(sizes[-1], spec.action_size)
            else:
                self.log_std = nn.Parameter(torch.full((spec.action_size,), -0.5))
        self.register_buffer("observation_mean", torch.zeros(spec.observation_size))
        self.register_buffer("observation_scale", torch.ones(spec.observation_size))

    def _features(self, observation: Tensor, first_bias: Tensor | None) -> Tensor:
        clip = self.spec.observation_clip
        hidden = (observation - self.observation_mean) / self.observation_scale
        hidden = hidden if math.isinf(clip) else hidden.clamp(-clip, clip)
        activation = ACTIVATIONS[self.spec.activation]
        for i in range(len(self.spec.hidden_sizes)):
            layer = getattr(self, f"fc{i}")
            hidden = linear(hidden, layer.weight, layer.bias)
            hidden = activation(hidden if first_bias is None or i > 0 else hidden + first_bias)
        return hidden

    def logits(self, observation: Tensor, first_bias: Tensor | None = None) -> Tensor:
        """Unnormalised log probabilities of the choices, [B, K]; `first_bias` as of `log_prob`."""
        return self.last_fc(self._features(observation, first_bias))

    def mean_and_log_std(self, observation: Tensor, first_bias: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean and log standard deviation, each [B, A]; of the pre-squash action where the policy squashes."""
        hidden = self._features(observation, first_bias)
        low, high = self.spec.log_std_bounds
        if self.spec.state_dependent_std:  # both in one product, which is quicker than two narrow ones
            heads = (self.last_fc, self.last_fc_log_std)
            weight, bias = (torch.cat([getattr(head, name) for head in heads]) for name in ("weight", "bias"))
            mean, log_std = linear(hidden, weight, bias).chunk(2, -1)
        else:
            mean = self.last_fc(hidden)
            log_std = self.log_std.expand_as(mean)
        return mean, log_std.clamp(low, high)

    def log_prob(
        self, observation: Tensor, action: Tensor, pre_squash: Tensor | None = None, first_bias: Tensor | None = None
    ) -> Tensor:
        """Natural log of pi(a|s), one value a row.

        Args:
            observation: raw, [B, O].
            action: as logged: [B, A] float, [B] int64 of one choice, [B, A] int64 of one in each dimension.
            pre_squash: u with action = tanh(u), [B, A]; recovered from the action where it was not logged, which is
                inexact for actions that float32 rounded towards 1.
            first_bias: added to the first layer of each row, [B, H]: what sets one version of a policy apart.

        Returns:
            [B], in nats; a density, which may be positive, for continuous actions.
        """
        if self.is_discrete:
            return self.log_prob_of_choice(self.logits(observation, first_bias), action)
        mean, log_std = self.mean_and_log_std(observation, first_bias)
        if self.spec.distribution == "gaussian":
            return distributions.gaussian_log_prob(mean, log_std, action)
        if pre_squash is None:
            pre_squash = distributions.pre_squash(action)
        return distributions.tanh_gaussian_log_prob(mean, log_std, pre_squash)

    def log_prob_parts(self, observation: Tensor, action: Tensor, pre_squash: Tensor | None = None) -> Tensor:
        """Natural log of the density of each dimension of an action that has some, [B, A]; arguments as of `log_prob`.

        Their sum is `log_prob`: a diagonal Gaussian and a multi_categorical draw their dimensions one by one.
        """
        if self.spec.distribution == "multi_categorical":
            return distributions.multi_categorical_log_prob_parts(self.logits(observation), action, self.spec.choices)
        mean, log_std = self.mean_and_log_std(observation)
        if self.spec.distribution == "gaussian":
            return distributions.gaussian_log_prob_parts(mean, log_std, action)
        if pre_squash is None:
            pre_squash = distributions.pre_squash(action)
        return distributions.tanh_gaussian_log_prob_parts(mean, log_std, pre_squash)

    def parameters_at(self, observation: Tensor) -> tuple[Tensor, ...]:
        """Of the distribution over actions: mean and log standard deviation, or the logits alone."""
        return (self.logits(observation),) if self.is_discrete else self.mean_and_log_std(observation)

    def divergence(self, first: tuple[Tensor, ...], second: tuple[Tensor, ...]) -> Tensor:
        """KL(first || second) of two distributions of this kind, [B], in nats; arguments as of `parameters_at`."""
        if self.spec.distribution == "multi_categorical":
            return distributions.multi_categorical_kl(first[0], second[0], self.spec.choices)
        kl = distributions.categorical_kl if self.is_discrete else distributions.gaussian_kl
        return kl(*first, *second)

    def log_prob_of_choice(self, logits: Tensor, action: Tensor) -> Tensor:
        """Natural log of the probability of a choice, or of one in each dimension, [B], from logits [B, K]."""
        if self.spec.distribution == "multi_categorical":
            return distributions.multi_categorical_log_prob(logits, action, self.spec.choices)
        return distributions.categorical_log_prob(logits, action)

    @torch.no_grad()
    def sample(self, observation: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor | None]:
        """An action of each row, its log probability, and the pre-squash action of a squashed policy (else none).

        Returns:
            action [B, A], or [B] of one choice, log_prob [B], pre_squash [B, A] or none.
        """
        if self.is_discrete:
            logits = self.logits(observation)
            drawn = [torch.multinomial(p.softmax(-1), 1, generator=generator) for p in self.by_dimension(logits)]
            action = self._as_logged(torch.cat(drawn, -1))
            return action, self.log_prob_of_choice(logits, action), None
        mean, log_std = self.mean_and_log_std(observation)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device)
        drawn = mean + log_std.exp() * noise
        if self.spec.distribution == "gaussian":
            return drawn, distributions.gaussian_log_prob(mean, log_std, drawn), None
        return torch.tanh(drawn), distributions.tanh_gaussian_log_prob(mean, log_std, drawn), drawn

    @torch.no_grad()
    def mode(self, observation: Tensor) -> Tensor:
        """The action of the distribution's mean (tanh of the mean where squashed) or the likeliest choices."""
        if self.is_discrete:
            likeliest = [part.argmax(-1) for part in self.by_dimension(self.logits(observation))]
            return self._as_logged(torch.stack(likeliest, -1))
        mean, _ = self.mean_and_log_std(observation)
        return mean if self.spec.distribution == "gaussian" else torch.tanh(mean)

    def by_dimension(self, logits: Tensor) -> tuple[Tensor, ...]:
        """The logits of each dimension of the action, [B, n] each; one, of all of them, where it is one choice."""
        return logits.split(self.spec.dimensions, -1)

    def _as_logged(self, choices: Tensor) -> Tensor:
        """[B, A] choices, one in each dimension; [B] where the action is one choice and nothing else."""
        return choices if self.spec.choices else choices.squeeze(-1)
