"""What the networks of off-policy evaluation read: standardised observations, and actions beside them.

Both are made when they are asked for. Kept are the actions that the policy drew, each state's once, and the noise in
the log's: the policy would have to be asked again for them.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from gipo_cli.advantages.standardised import Standardised
from gipo_cli.data.trajectories import ActionSpace
from gipo_cli.policies.policy import Policy
from gipo_cli.training.columns import chunks, joined, mean_and_std, taken
from gipo_cli.training.samples import Samples

WIDEST = 6.0  # noise is cut here: an action that the policy would hardly take
DRAWS = 4  # actions of the policy at a state, whose mean stands for its expectation
ENUMERATED = 16  # choices up to which the expectation is taken over all of them, exactly
ONE_HOT = 256  # choices of all dimensions together that get a number each; above, an action is a number a dimension
AT_ONCE = 2**16  # places whose actions are drawn together: which random numbers they get depends on it


@dataclass(frozen=True)
class Inputs:
    """What was seen at N rows and after E episodes' ends, in one table, and actions there where these count.

    `logged` and `expected` are the same kind of number for a network: one row of inputs, of an action that was taken or
    of each that the policy may take.
    """

    features: Standardised
    actions: "Actions | None" = None  # none where the state alone counts

    @property
    def width(self) -> int:
        """Numbers in a row of inputs."""
        return self.logged(torch.zeros(1, dtype=torch.int64, device=self.features.mean.device)).shape[-1]

    def following(self, rows: Tensor) -> Tensor:
        """Place in the table of the observation after each of some rows, [B]."""
        return self.features.place_after(rows)

    def logged(self, rows: Tensor) -> Tensor:
        """Inputs of some rows with the actions of the log, [B, width]."""
        observed = self.features[rows]
        return observed if self.actions is None else torch.cat([observed, self.actions.logged(rows)], -1)

    def expected(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs of the actions that the policy may take at places of the table, [B, M, width], and chances, [B, M]."""
        observed = self.features.at(places)[:, None]
        if self.actions is None:
            return observed, torch.ones_like(observed[..., 0])
        drawn, chance = self.actions.expected(places)
        return torch.cat([observed.expand(-1, drawn.shape[1], -1), drawn], -1), chance


@dataclass(frozen=True)
class Actions:
    """Those of the log and those of the policy, as the encoder reads them."""

    encoder: "Encoder"
    action: Tensor  # of the log, [N, ...]
    drawn: Tensor  # of the policy at each place of the table, [N + E, M, ...]
    chance: Tensor  # of each of these, [N + E, M]

    def logged(self, rows: Tensor) -> Tensor:
        """Actions of some rows, encoded, [B, A]."""
        return self.encoder(taken(self.action, rows))

    def expected(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """Actions that the policy may take at places of the table, encoded, [B, M, A], and chances, [B, M]."""
        return self.encoder(taken(self.drawn, places)), taken(self.chance, places)


@dataclass(frozen=True)
class Encoder:
    """Actions as numbers of order 1: a mark for each choice, or what the environment was given and the noise in it.

    The noise is (u - mean) / std under the policy that is evaluated, u being what a Gaussian drew. A narrow policy acts
    in a small part of the action space, and what an action is worth there would be lost beside what the state is.
    """

    choices: tuple[int, ...]
    single: bool  # an action is one choice, and has no dimensions
    squashes: bool
    low: Tensor
    high: Tensor
    mean: Tensor
    std: Tensor

    def __call__(self, actions: Tensor) -> Tensor:
        """Encode choices [..., A], of a single one [...]; or u and its noise side by side, [..., 2A]."""
        if not self.choices:
            drawn, noise = actions.chunk(2, -1)
            return torch.cat([(self.given(drawn) - self.mean) / self.std, noise.clamp(-WIDEST, WIDEST)], -1)
        parts = actions[..., None] if self.single else actions
        if sum(self.choices) > ONE_HOT:
            return 2 * parts / (torch.tensor(self.choices, device=parts.device) - 1).clamp_min(1) - 1
        marks = [F.one_hot(parts[..., d], n) for d, n in enumerate(self.choices)]
        return torch.cat(marks, -1).float()

    def given(self, drawn: Tensor) -> Tensor:
        """What the environment is given for what a Gaussian drew, but for a stretch to its bounds."""
        return torch.tanh(drawn) if self.squashes else drawn.clamp(self.low, self.high)


def of_actions(
    samples: Samples, features: Standardised, space: ActionSpace, policy: Policy, generator: torch.Generator
) -> Inputs:
    """Inputs of state and action; the policy's own actions are drawn here, once.

    Args:
        samples: the log.
        features: of its observations.
        space: of its actions.
        policy: that is evaluated.
        generator: of its noise.
    """
    encoder = _encoder(samples, space, policy)
    drawn, chance = _drawn(samples, policy, len(features), generator)
    return Inputs(features, Actions(encoder, _logged(samples, policy), drawn, chance))


@torch.no_grad()
def _logged(samples: Samples, policy: Policy) -> Tensor:
    """The log's actions as the encoder reads them."""
    if policy.is_discrete:
        return samples.action
    drawn = samples.gaussian_action
    return samples.at_every_row(lambda rows: _with_noise(policy, samples.observation[rows], drawn[rows]))


def _with_noise(policy: Policy, observation: Tensor, drawn: Tensor) -> Tensor:
    mean, log_std = policy.mean_and_log_std(observation)
    return torch.cat([drawn, (drawn - mean) * torch.exp(-log_std)], -1)


@torch.no_grad()
def _drawn(samples: Samples, policy: Policy, places: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Actions [N + E, M, ...] and their chances [N + E, M]: all of a few choices, else draws."""
    if policy.spec.distribution == "categorical" and policy.spec.action_size <= ENUMERATED:
        chance = joined(places, (policy.logits(part).softmax(-1) for part in _observed(samples)))
        return torch.arange(chance.shape[-1], device=chance.device).expand(chance.shape), chance
    drawn = joined(places, (_draws(policy, part, generator) for part in _observed(samples)))
    return drawn, torch.full((1, 1), 1 / DRAWS, device=drawn.device).expand(places, DRAWS)


def _observed(samples: Samples) -> Iterator[Tensor]:
    """Observations in the order of the table, as they were logged."""
    rows, places = len(samples.reward), len(samples.reward) + len(samples.final_observation)
    for start in range(0, places, AT_ONCE):
        ended = slice(max(start - rows, 0), max(start + AT_ONCE - rows, 0))
        yield torch.cat([samples.observation[start : start + AT_ONCE], samples.final_observation[ended]])


def _draws(policy: Policy, observation: Tensor, generator: torch.Generator) -> Tensor:
    """Actions of the policy, [B, DRAWS, ...]; of real numbers in pairs, with their noise beside them.

    The noise of a pair is opposite, so that what is linear in it cancels exactly.
    """
    if policy.is_discrete:
        return torch.stack([policy.sample(observation, generator)[0] for _ in range(DRAWS)], 1)
    mean, log_std = policy.mean_and_log_std(observation)
    half = torch.randn(len(mean), DRAWS // 2, mean.shape[-1], generator=generator, device=mean.device)
    noise = torch.cat([half, -half], 1)
    return torch.cat([mean[:, None] + log_std.exp()[:, None] * noise, noise], -1)


def _encoder(samples: Samples, space: ActionSpace, policy: Policy) -> Encoder:
    """An encoder with the bounds of the space and the spread of the log's actions."""
    none = torch.zeros(0, device=samples.device)
    if policy.is_discrete:
        return Encoder(space.choices, policy.spec.distribution == "categorical", False, none, none, none, none)
    size = samples.action.shape[-1]
    low, high = (
        torch.full((size,), default, device=samples.device)
        if bound is None
        else torch.as_tensor(bound.reshape(-1), dtype=torch.float32, device=samples.device)
        for bound, default in ((space.low, -torch.inf), (space.high, torch.inf))
    )
    squashes = policy.spec.distribution == "tanh_gaussian"
    encoder = Encoder((), False, squashes, low, high, none, none)
    given = joined(len(samples.reward), map(encoder.given, chunks(samples.gaussian_action)))
    mean, std = mean_and_std(given, correction=0)
    return replace(encoder, mean=mean, std=std + 1e-6)
