"""What the networks of off-policy evaluation read: standardised observations, and actions beside them."""

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from gipo_cli.advantages.standardised import Standardised
from gipo_cli.data.trajectories import ActionSpace
from gipo_cli.policies.policy import Policy
from gipo_cli.policies.slices import sliced
from gipo_cli.training.samples import Samples

WIDEST = 6.0  # noise is cut here: an action that the policy would hardly take
DRAWS = 4  # actions of the policy at a state, whose mean stands for its expectation
ENUMERATED = 16  # choices up to which the expectation is taken over all of them, exactly
ONE_HOT = 256  # choices of all dimensions together that get a number each; above, an action is a number a dimension


@dataclass(frozen=True)
class Inputs:
    """Observations of N rows and after E episodes' ends, in one table, and actions at them where these count.

    `logged` and `expected` are the same kind of number for a network: one row of inputs, of an action that was taken or
    of each that the policy may take.
    """

    table: Tensor  # [N + E, F]
    following: Tensor  # place in the table of the observation after each row, [N]
    action: Tensor | None = None  # encoded, of the log, [N, A]; none where the state alone counts
    drawn: Tensor | None = None  # of the policy at each place of the table, as the log has actions, [N + E, M, ...]
    chance: Tensor | None = None  # of each of these, [N + E, M]
    encoder: "Encoder | None" = None

    @property
    def width(self) -> int:
        """Numbers in a row of inputs."""
        return self.table.shape[-1] + (0 if self.action is None else self.action.shape[-1])

    def logged(self, rows: Tensor) -> Tensor:
        """Inputs of some rows with the actions of the log, [B, width]."""
        observed = self.table[rows]
        return observed if self.action is None else torch.cat([observed, self.action[rows]], -1)

    def expected(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs of the actions that the policy may take at places of the table, [B, M, width], and chances, [B, M]."""
        observed = self.table[places][:, None]
        if self.drawn is None or self.chance is None or self.encoder is None:
            return observed, torch.ones_like(observed[..., 0])
        actions = self.encoder(self.drawn[places])
        return torch.cat([observed.expand(-1, actions.shape[1], -1), actions], -1), self.chance[places]


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


def _table(features: Standardised) -> tuple[Tensor, Tensor]:
    """All places of the table at once, and where in it the observation after each row is."""
    samples = features.samples
    places, rows = (torch.arange(count, device=samples.device) for count in (len(features), len(samples.reward)))
    return features.at(places), features.place_after(rows)


def of_states(features: Standardised) -> Inputs:
    """Inputs of the state alone."""
    return Inputs(*_table(features))


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
    observation = torch.cat([samples.observation, samples.final_observation])
    pairs = [_actions_of(policy, chunk, generator) for chunk in observation.split(65536)]
    drawn, chance = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    return Inputs(*_table(features), encoder(_logged(samples, policy)), drawn, chance, encoder)


@torch.no_grad()
def _logged(samples: Samples, policy: Policy) -> Tensor:
    """The log's actions as the encoder reads them."""
    if policy.is_discrete:
        return samples.action
    every_row = torch.arange(len(samples.reward), device=samples.device)
    drawn = samples.gaussian_action
    return sliced(lambda rows: _with_noise(policy, samples.observation[rows], drawn[rows]), every_row)


def _with_noise(policy: Policy, observation: Tensor, drawn: Tensor) -> Tensor:
    mean, log_std = policy.mean_and_log_std(observation)
    return torch.cat([drawn, (drawn - mean) * torch.exp(-log_std)], -1)


@torch.no_grad()
def _actions_of(policy: Policy, observation: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Actions [B, M, ...] and their chances [B, M]: all of a few choices, else draws, of real numbers in pairs.

    The noise of a pair is opposite, so that what is linear in it cancels exactly.
    """
    if policy.spec.distribution == "categorical" and policy.spec.action_size <= ENUMERATED:
        chance = policy.logits(observation).softmax(-1)
        return torch.arange(chance.shape[-1], device=chance.device).expand(chance.shape), chance
    if policy.is_discrete:
        drawn = torch.stack([policy.sample(observation, generator)[0] for _ in range(DRAWS)], 1)
    else:
        mean, log_std = policy.mean_and_log_std(observation)
        half = torch.randn(len(mean), DRAWS // 2, mean.shape[-1], generator=generator, device=mean.device)
        noise = torch.cat([half, -half], 1)
        drawn = torch.cat([mean[:, None] + log_std.exp()[:, None] * noise, noise], -1)
    return drawn, torch.full(drawn.shape[:2], 1 / DRAWS, device=drawn.device)


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
    given = encoder.given(samples.gaussian_action)
    return replace(encoder, mean=given.mean(0), std=given.std(0, correction=0) + 1e-6)
