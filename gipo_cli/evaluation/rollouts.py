"""Returns of a policy in its environment: many episodes side by side, one batched forward pass a step."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from gipo_cli.policies.acting import given_to, require_fit
from gipo_cli.policies.policy import Policy

SIDE_BY_SIDE = 128


@dataclass(frozen=True)
class Returns:
    """Return and length of each episode, both [episodes]."""

    returns: np.ndarray
    lengths: np.ndarray

    @property
    def mean(self) -> float:
        """Mean return."""
        return float(self.returns.mean())

    @property
    def standard_error(self) -> float | None:
        """Of the mean; none for one episode."""
        count = len(self.returns)
        return float(self.returns.std(ddof=1) / count**0.5) if count > 1 else None


@torch.no_grad()
def rollout(
    policy: Policy,
    environments: list[Any],
    episodes: int,
    *,
    seed: int,
    stochastic: bool,
    discount: float = 1.0,
    on_episode: Callable[[int], None] = lambda n: None,
) -> Returns:
    """Run whole episodes; every one that begins counts, so short ones are not favoured.

    Episode k starts from a state that depends on (seed, k) alone: two policies meet the same starts. What the
    environment is given for an action is `acting.given_to` of it, as it was when the log was recorded.

    Args:
        policy: acts on raw observations, on the CPU.
        environments: of one kind; as many episodes run side by side.
        episodes: how many in all.
        seed: of starts and of the policy's noise.
        stochastic: sample actions, or take the mode.
        discount: gamma of the returns.
        on_episode: called with 1 as each episode ends.

    Raises:
        DataError: the policy does not fit the environment.
    """
    require_fit(policy, environments[0])
    space, distribution = environments[0].action_space, policy.spec.distribution
    noise = torch.Generator().manual_seed(seed)
    returns, lengths = np.zeros(episodes), np.zeros(episodes, int)
    for first in range(0, episodes, len(environments)):
        batch = range(first, min(first + len(environments), episodes))
        observations = {k: environments[k - first].reset(seed=_start(seed, k))[0] for k in batch}
        while observations:
            seen = torch.as_tensor(np.stack(list(observations.values())), dtype=torch.float32).flatten(1)
            actions = policy.sample(seen, noise)[0] if stochastic else policy.mode(seen)
            given = given_to(space, distribution, actions.numpy())
            for k, action in zip(list(observations), given, strict=True):
                acted = int(action) if given.ndim == 1 else action
                following, reward, terminated, truncated, _ = environments[k - first].step(acted)
                returns[k] += discount ** lengths[k] * float(reward)
                lengths[k] += 1
                observations[k] = following
                if terminated or truncated:
                    del observations[k]
                    on_episode(1)
    return Returns(returns, lengths)


def _start(seed: int, episode: int) -> int:
    return int(np.random.SeedSequence((seed, episode)).generate_state(1)[0])
