"""A policy that knows nothing: every action, or every choice, is as likely as any other."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gipo_cli.errors import SettingError
from gipo_cli.policies.acting import choices_of, space_of
from gipo_cli.policies.distributions import LARGEST_BELOW_ONE
from gipo_cli.policies.policy import LARGEST_LAYER, PolicySpec


class UniformPolicy:
    """Uniform over a bounded Box or over choices; the log-prob is a constant.

        Discrete, MultiDiscrete   log_prob = -log n,  -sum log n_d
        Box   a uniform in [-1, 1]^A, stretched to the bounds;  log_prob = -sum log(high - low) = -A log 2

    The action of a Box is logged as that of a squashed policy, u = atanh(a), so that one which learns from the log has
    the same support. It also starts closer: u is logistic, and the nearest Gaussian is 0.014 nats a dimension away
    from it; the nearest Gaussian in a is 0.177 nats away from a uniform a.
    """

    def __init__(self, environment: Any, environment_id: str) -> None:
        """Take the sizes of a Gymnasium environment.

        Raises:
            SettingError: as `space_of`; or the Box has a bound that is not finite: nothing is uniform over it.
        """
        space = space_of(environment, environment_id)
        choices = choices_of(space)
        self.is_discrete = bool(choices)
        if not self.is_discrete and not (np.isfinite(space.low).all() and np.isfinite(space.high).all()):
            raise SettingError(
                f"{environment_id} has actions without bounds; a random policy needs bounds to be uniform between.",
                "Record from a policy file instead.",
            )
        if sum(choices) > LARGEST_LAYER:
            raise SettingError(
                f"{environment_id} has {sum(choices):,} choices; no policy here has more than {LARGEST_LAYER:,}."
            )
        self.spec = PolicySpec(
            distribution=("multi_categorical" if space.shape else "categorical") if choices else "tanh_gaussian",
            observation_size=int(np.prod(environment.observation_space.shape)),
            action_size=sum(choices) or int(space.shape[0]),
            choices=choices if space.shape else (),
        )

    def sample(self, observation: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor | None]:
        """An action of each row, its log probability, and its pre-squash action (none for choices)."""
        rows, size = len(observation), self.spec.action_size
        if self.is_discrete:
            choices = self.spec.dimensions
            drawn = torch.stack([torch.randint(n, (rows,), generator=generator) for n in choices], -1)
            log_prob = torch.full((rows,), -math.log(math.prod(choices)))
            return drawn if self.spec.choices else drawn[:, 0], log_prob, None
        # In float64, or one action in 2^24 would be exactly -1 and its u infinite.
        drawn = 2 * torch.rand((rows, size), generator=generator, dtype=torch.float64) - 1
        drawn = drawn.clamp(-LARGEST_BELOW_ONE, LARGEST_BELOW_ONE)
        return drawn.float(), torch.full((rows,), -size * math.log(2)), torch.atanh(drawn).float()
