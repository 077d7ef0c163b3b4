"""What the log-probs are held against: the behaviour policy itself, or a clone of it fitted to the logged actions."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
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
# Over 1,280 rows of 8 dimensions, 800 passes made the mean ratio of right log-probs e^-8; 100 make it 1 within noise.
FEWEST_STEPS, MOST_PASSES = 200, 100
MOST_FEATURES = 1024
HELD_OUT = 5  # one episode in so many is for the test alone
LIKELY = 0.1  # of the likeliest choice's probability, from which on a clone does not take one for impossible
STANDARDISED_LIMIT = 10.0


class Reference:
    """A policy's distribution at each row of a sample, at any temperature."""

    def __init__(self, policy: Policy, features: np.ndarray, sample: Sample, units: "Units | None" = None) -> None:
        with torch.no_grad():
            inputs = torch.as_tensor(features)
            if policy.is_discrete:
                self.logits = policy.logits(inputs).double()
            else:
                self.mean, self.log_std = (part.double() for part in policy.mean_and_log_std(inputs))
        self.policy, self.features, self.sample, self.units = policy, features, sample, units
        self.action = torch.as_tensor(sample.actions if sample.pre_squash is None else sample.pre_squash)
        if units is not None:
            self.mean, self.log_std = self.mean * units.scale + units.middle, self.log_std + units.scale.log()

    def log_prob(self, temperature: float = 1.0) -> np.ndarray:
        """Log-prob of the logged actions, [n]: logits divided by the temperature, or standard deviations times it."""
        if self.policy.is_discrete:
            return self.policy.log_prob_of_choice(self.logits / temperature, self.action).numpy()
        log_std = self.log_std + math.log(temperature)
        density = (
            distributions.gaussian_log_prob if self.sample.pre_squash is None else distributions.tanh_gaussian_log_prob
        )
        return density(self.mean, log_std, self.action.double()).numpy()

    def spread(self) -> np.ndarray:
        """How widely the policy draws at each row, [n]: its entropy up to a constant, a function of the state alone."""
        if self.policy.is_discrete:
            log_probs = [logits.log_softmax(-1) for logits in self.policy.by_dimension(self.logits)]
            return -torch.stack([(each.exp() * each).sum(-1) for each in log_probs]).sum(0).numpy()
        return self.log_std.sum(-1).numpy()

    def flattened(self, temperature: float) -> np.ndarray:
        """Log-prob of the choices at a temperature among those that are likely at 1, [n]; -inf for the others.

        It is a density like any other, but gives nothing to choices that the policy may never make: of what it gave
        to those no logged step would bring back its share, and its mean ratio would not be 1.
        """
        parts = []
        for logits in self.policy.by_dimension(self.logits):
            likely = logits >= logits.max(-1, keepdim=True).values + math.log(LIKELY)
            parts.append(torch.where(likely, logits / temperature, -math.inf))
        return self.policy.log_prob_of_choice(torch.cat(parts, -1), self.action).numpy()

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


@dataclass(frozen=True)
class Units:
    """Middle and size of the actions (before squashing), by which a clone sees none that is tiny or huge."""

    middle: Tensor  # [A] float64
    scale: Tensor  # [A] float64

    def standardise(self, action: Tensor) -> Tensor:
        """Actions around 0 of size 1, [n, A] float32."""
        return ((action.double() - self.middle) / self.scale).float()

    def volume(self, sample: Sample) -> Tensor:
        """What the log-density of a standardised action lacks to that of the logged one, [n]."""
        jacobian = 0.0 if sample.around.jacobian is None else torch.as_tensor(sample.around.jacobian)
        return (-self.scale.log().sum() - jacobian).expand(len(sample.values)).float()


def clone_of(log: Trajectories, sample: Sample) -> tuple[Reference, np.ndarray]:
    """A small network fitted to the logged actions by maximum likelihood, and which rows it has not seen.

    It sees the age of the policy beside the observation: in a log of many policies each row has its own.
    """
    held_out = sample.episode % HELD_OUT == HELD_OUT - 1
    features = _features(sample, sample.age)
    spec = PolicySpec(
        distribution=log.convention if log.action_space.is_discrete else "gaussian",
        observation_size=features.shape[1],
        action_size=log.action_space.size,
        choices=log.action_space.nvec or (),
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
    units = None if policy.is_discrete else _units(sample, seen)
    actions = _seen_as(sample, units)

    def log_prob(policy: Policy, rows: Tensor) -> Tensor:
        return policy.log_prob(inputs[rows], actions[rows])

    _raise(policy, log_prob, seen)
    return Reference(policy, features, sample, units), held_out


def _units(sample: Sample, rows: Tensor) -> Units:
    drawn = torch.as_tensor(sample.actions if sample.pre_squash is None else sample.pre_squash)[rows].double()
    return Units(drawn.mean(0), drawn.std(0).clamp_min(1e-30))


def _seen_as(sample: Sample, units: Units | None) -> Tensor:
    if units is None:
        return torch.as_tensor(sample.actions)
    return units.standardise(torch.as_tensor(sample.actions if sample.pre_squash is None else sample.pre_squash))


def fitted_to_values(clone: Reference, values: np.ndarray, held_out: np.ndarray) -> Reference:
    """A density fitted to the values as if they were its log-probs, from the clone on; rows held out stay unseen."""
    sample, policy = clone.sample, copy.deepcopy(clone.policy)
    seen = torch.as_tensor(np.flatnonzero(~held_out & sample.usable & np.isfinite(values)))
    inputs, actions = torch.as_tensor(clone.features), _seen_as(sample, clone.units)
    volume = torch.zeros(len(values)) if clone.units is None else clone.units.volume(sample)
    scale = float(np.nanstd(values))
    target = torch.as_tensor(values.astype(np.float32))

    def closeness(policy: Policy, rows: Tensor) -> Tensor:
        found = policy.log_prob(inputs[rows], actions[rows]) + volume[rows]
        off = (found - target[rows]) / scale
        return -F.smooth_l1_loss(off, torch.zeros_like(off), reduction="none", beta=0.1)

    _raise(policy, closeness, seen)
    return Reference(policy, clone.features, sample, clone.units)


def _raise(policy: Policy, objective: Callable[[Policy, Tensor], Tensor], rows: Tensor) -> None:
    generator = torch.Generator().manual_seed(0)

    def batch(step: int) -> Tensor:
        return rows[torch.randint(len(rows), (CLONE_BATCH,), generator=generator)]

    # A clone that has seen every row hundreds of times is far too sure of them, and misses those it has not seen.
    steps = min(CLONE_STEPS, max(FEWEST_STEPS, MOST_PASSES * len(rows) // CLONE_BATCH))
    for _ in ascend(policy, objective, batch, steps=steps, learning_rate=CLONE_LEARNING_RATE, max_gradient_norm=1):
        pass


def at_another_age(reference: Reference) -> Reference:
    """The same clone asked as if every row were half a log younger or older."""
    sample = reference.sample
    moved = np.where(sample.age > 0, sample.age - 1, sample.age + 1)
    features = _features(sample, moved)
    return Reference(reference.policy, features, sample, reference.units)


def _features(sample: Sample, age: np.ndarray) -> np.ndarray:
    # Of a picture, every so many points: the identity holds whatever a clone sees.
    observations = sample.observations
    return np.concatenate([observations[:, :: -(-observations.shape[1] // MOST_FEATURES)], _waves(age)], 1).astype(
        np.float32
    )


def _waves(age: np.ndarray) -> np.ndarray:
    # A policy changes fastest early on: slow cosines tell stretches of a log apart without naming single episodes.
    return cast(np.ndarray, np.cos(np.pi / 2 * np.outer(age + 1, [1, 2, 3, 4])))
