"""Record a log from a policy that acts: what was sampled, and exactly how likely it was."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from gipo_cli.data.trajectories import ActionSpace, BehaviourWeights, Convention, Trajectories
from gipo_cli.errors import SettingError


class Acts(Protocol):
    """What the recorder asks of a policy."""

    def sample(self, observation: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor | None]:
        """Action, its log-prob, and the pre-squash action or none, of each row."""
        ...


def record(
    policy: Acts,
    environments: list[Any],
    *,
    name: str,
    environment_id: str,
    convention: Convention,
    weights: BehaviourWeights | None,
    steps: int,
    seed: int,
    on_steps: Callable[[int], None],
) -> Trajectories:
    """Step environments side by side, one batched forward pass a step, until `steps` are recorded.

    Every environment goes on to the end of the episode in which it reaches its share of the steps, so no episode is
    cut by the recorder and short episodes are not favoured. The action that is stored is the one that was sampled; the
    environment acts on it clipped to its bounds, and the log-prob is of the sampled one.

    Args:
        policy: acts on raw observations, float32.
        environments: Gymnasium environments of one kind, with Box or Discrete actions.
        name: of the log.
        environment_id: as Gymnasium knows it.
        convention: of the policy's log-probs.
        weights: of the policy, to be stored with the log.
        steps: at least so many are recorded.
        seed: of the policy's noise and of every reset.
        on_steps: called with the number of steps just recorded.
    """
    space = action_space_of(environments[0], environment_id)
    share = -(-steps // len(environments))
    noise = torch.Generator().manual_seed(seed)
    resets = [np.random.SeedSequence((seed, i)) for i in range(len(environments))]
    observations = [_reset(env, seeds) for env, seeds in zip(environments, resets, strict=True)]
    tracks: list[_Track] = [_Track() for _ in environments]
    running = list(range(len(environments)))
    while running:
        batch = torch.as_tensor(np.stack([observations[i] for i in running]))
        action, log_prob, pre_squash = policy.sample(batch.reshape(len(running), -1), noise)
        for place, i in enumerate(list(running)):
            sampled = action[place].numpy()
            following, reward, terminated, truncated, _ = environments[i].step(_executed(sampled, space))
            tracks[i].add(
                observations[i], sampled, float(reward), float(log_prob[place]), bool(terminated),
                bool(truncated) and not terminated, None if pre_squash is None else pre_squash[place].numpy(),
            )  # fmt: skip
            observations[i] = np.asarray(following, np.float32)
            if terminated or truncated:
                tracks[i].end(observations[i])
                observations[i] = _reset(environments[i], resets[i])
                if tracks[i].steps >= share:
                    running.remove(i)
        on_steps(len(batch))
    return _assemble(tracks, space, name, environment_id, convention, weights)


def action_space_of(environment: Any, environment_id: str) -> ActionSpace:
    """The action space of a Gymnasium environment.

    Raises:
        SettingError: it is neither a Box nor Discrete, or the observations are not a Box.
    """
    from gymnasium.spaces import Box, Discrete

    observed, acted = environment.observation_space, environment.action_space
    if not isinstance(observed, Box):
        raise SettingError(f"{environment_id} has {type(observed).__name__} observations; expected a Box.")
    if isinstance(acted, Discrete) and acted.start == 0:
        return ActionSpace(shape=(), n=int(acted.n))
    if isinstance(acted, Box) and len(acted.shape) == 1:
        return ActionSpace(acted.shape, acted.low.astype(np.float32), acted.high.astype(np.float32))
    raise SettingError(f"{environment_id} has actions in {acted}; expected Discrete from 0, or a flat Box.")


def _reset(environment: Any, seeds: np.random.SeedSequence) -> np.ndarray:
    seed = int(seeds.spawn(1)[0].generate_state(1)[0])
    return np.asarray(environment.reset(seed=seed)[0], np.float32)


def _executed(sampled: np.ndarray, space: ActionSpace) -> Any:
    if space.is_discrete:
        return int(sampled)
    return np.clip(sampled, space.low, space.high)


class _Track:
    """What one environment has recorded: columns of rows, and where its episodes end."""

    def __init__(self) -> None:
        self.rows: list[tuple[Any, ...]] = []
        self.lengths: list[int] = []
        self.final: list[np.ndarray] = []
        self.steps = 0  # of ended episodes

    def add(self, *row: Any) -> None:
        self.rows.append(row)

    def end(self, observation: np.ndarray) -> None:
        self.lengths.append(len(self.rows) - self.steps)
        self.final.append(observation)
        self.steps = len(self.rows)


def _assemble(
    tracks: list[_Track],
    space: ActionSpace,
    name: str,
    environment_id: str,
    convention: Convention,
    weights: BehaviourWeights | None,
) -> Trajectories:
    rows = [row for track in tracks for row in track.rows]
    column = [np.array([row[i] for row in rows]) for i in range(6)]
    squashed = rows[0][6] is not None
    lengths = [length for track in tracks for length in track.lengths]
    return Trajectories(
        name=name,
        source="recorded",
        observations=column[0].astype(np.float32),
        actions=column[1].astype(np.int64 if space.is_discrete else np.float32),
        rewards=column[2].astype(np.float32),
        behaviour_log_probs=column[3].astype(np.float32),
        terminated=column[4].astype(bool),
        truncated=column[5].astype(bool),
        final_observations=np.stack([final for track in tracks for final in track.final]).astype(np.float32),
        episode_starts=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        action_space=space,
        convention=convention,
        environment=environment_id,
        pre_squash_actions=np.array([row[6] for row in rows], np.float32) if squashed else None,
        behaviour_weights=weights,
    )
