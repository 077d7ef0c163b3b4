"""What the log-probs are held against: the behaviour policy itself, or a clone of it fitted to the logged actions."""

import copy
import math
from collections.abc import Callable
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gipo_cli.data.checks.sample import LARGEST_UNSQUASHED, Sample
from gipo_cli.data.trajectories import Trajectories
from gipo_cli.policies import distributions
from gipo_cli.policies.likelihood import ascend
from gipo_cli.policies.policy import Policy, PolicySpec

CLONE_STEPS, CLONE_BATCH, CLONE_LEARNING_RATE, CLONE_WIDTH = 2000, 512, 1e-3, 128
HELD_OUT = 5  # one episode in so many is for the test alone
STANDARDISED_LIMIT = 10.0


class Reference:
    """A policy's distribution at each row of a sample, at any temperature."""

    def __init__(self, policy: Policy, features: np.ndarray, sample: Sample) -> None:
        with torch.no_grad():
            inputs = torch.as_tensor(features)
            if policy.is_discrete:
                self.logits = policy.logits(inputs).double()
            else:
                self.mean, self.log_std = (part.double() for part in policy.mean_and_log_std(inputs))
        self.policy, self.features, self.sample = policy, features, sample
        self.action = torch.as_tensor(sample.actions if sample.pre_squash is None else sample.pre_squash)

    def log_prob(self, temperature: float = 1.0) -> np.ndarray:
        """Log-prob of the logged actions, [n]: logits divided by the temperature, or standard deviations times it."""
        if self.policy.is_discrete:
            return distributions.categorical_log_prob(self.logits / temperature, self.action).numpy()
        log_std = self.log_std + math.log(temperature)
        density = (
            distributions.gaussian_log_prob
            if self.policy.spec.distribution == "gaussian"
            else distributions.tanh_gaussian_log_prob
        )
        return density(self.mean, log_std, self.action.double()).numpy()

    def spread(self) -> np.ndarray:
        """How widely the policy draws at each row, [n]: its entropy up to a constant, a function of the state alone."""
        if self.policy.is_discrete:
            log_probs = self.logits.log_softmax(-1)
            return -(log_probs.exp() * log_probs).sum(-1).numpy()
        return self.log_std.sum(-1).numpy()

    def log_mass(self, temperature: float) -> np.ndarray | float:
        """Log of the probability of an action that is not too near a bound to be compared; 0 where all are."""
        if self.sample.usable.all():
            return 0.0
        std = self.log_std.exp() * temperature
        limit = math.atanh(LARGEST_UNSQUASHED)
        inside = torch.special.ndtr((limit - self.mean) / std) - torch.special.ndtr((-limit - self.mean) / std)
        return inside.clamp_min(1e-300).log().sum(-1).numpy()

    def rounding(self) -> np.ndarray:
        """How far float32 may take the log-prob of each row from its exact value, [n], in nats.

        The pre-squash value of an action a near 1 is known to 2^-24 / (1 - a^2); the density changes by that times its
        slope.
        """
        if self.policy.is_discrete or self.sample.pre_squash is None:
            return np.zeros(len(self.sample.values))
        u = self.action.double()
        slope = ((u - self.mean).abs() * torch.exp(-2 * self.log_std) + 2).numpy()
        known_to = 2.0**-24 / np.maximum(1 - np.tanh(u.numpy()) ** 2, 1e-12)
        return (slope * known_to).sum(-1)


def clone_of(log: Trajectories, sample: Sample) -> tuple[Reference, np.ndarray]:
    """A small network fitted to the logged actions by maximum likelihood, and which rows it has not seen.

    It sees the age of the policy beside the observation: in a log of many policies each row has its own.
    """
    held_out = sample.episode % HELD_OUT == HELD_OUT - 1
    features = np.concatenate([sample.observations, _waves(sample.age)], 1).astype(np.float32)
    spec = PolicySpec(
        distribution=log.convention,
        observation_size=features.shape[1],
        action_size=log.action_space.n or sample.actions.shape[-1],
        hidden_sizes=(CLONE_WIDTH, CLONE_WIDTH),
        log_std_bounds=(-5.0, 2.0),
        observation_clip=STANDARDISED_LIMIT,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        policy = Policy(spec)
    inputs, seen = torch.as_tensor(features), torch.as_tensor(np.flatnonzero(~held_out & sample.usable))
    policy.observation_mean.copy_(inputs[seen].mean(0))
    policy.observation_scale.copy_(inputs[seen].std(0).clamp_min(1e-6))
    actions = torch.as_tensor(sample.actions)
    pre_squash = None if sample.pre_squash is None else torch.as_tensor(sample.pre_squash)

    def log_prob(policy: Policy, rows: Tensor) -> Tensor:
        return policy.log_prob(inputs[rows], actions[rows], None if pre_squash is None else pre_squash[rows])

    _raise(policy, log_prob, seen)
    return Reference(policy, features, sample), held_out


def fitted_to_values(clone: Reference, values: np.ndarray, held_out: np.ndarray) -> Reference:
    """A density fitted to the values as if they were its log-probs, from the clone on; rows held out stay unseen."""
    sample, policy = clone.sample, copy.deepcopy(clone.policy)
    seen = torch.as_tensor(np.flatnonzero(~held_out & sample.usable & np.isfinite(values)))
    inputs, actions = torch.as_tensor(clone.features), torch.as_tensor(sample.actions)
    pre_squash = None if sample.pre_squash is None else torch.as_tensor(sample.pre_squash)
    scale = float(np.nanstd(values))
    target = torch.as_tensor(values.astype(np.float32))

    def closeness(policy: Policy, rows: Tensor) -> Tensor:
        found = policy.log_prob(inputs[rows], actions[rows], None if pre_squash is None else pre_squash[rows])
        off = (found - target[rows]) / scale
        return -F.smooth_l1_loss(off, torch.zeros_like(off), reduction="none", beta=0.1)

    _raise(policy, closeness, seen)
    return Reference(policy, clone.features, sample)


def _raise(policy: Policy, objective: Callable[[Policy, Tensor], Tensor], rows: Tensor) -> None:
    generator = torch.Generator().manual_seed(0)

    def batch(step: int) -> Tensor:
        return rows[torch.randint(len(rows), (CLONE_BATCH,), generator=generator)]

    for _ in ascend(
        policy, objective, batch, steps=CLONE_STEPS, learning_rate=CLONE_LEARNING_RATE, max_gradient_norm=1
    ):
        pass


def at_another_age(reference: Reference) -> Reference:
    """The same clone asked as if every row were half a log younger or older."""
    sample = reference.sample
    moved = np.where(sample.age > 0, sample.age - 1, sample.age + 1)
    features = np.concatenate([sample.observations, _waves(moved)], 1).astype(np.float32)
    return Reference(reference.policy, features, sample)


def _waves(age: np.ndarray) -> np.ndarray:
    # A policy changes fastest early on: slow cosines tell stretches of a log apart without naming single episodes.
    return cast(np.ndarray, np.cos(np.pi / 2 * np.outer(age + 1, [1, 2, 3, 4])))
