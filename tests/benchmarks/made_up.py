"""A made-up log in the shape of Hopper's, as arrays of numpy alone: what a peer loads is then all that it needs.

Actions are drawn from N(0, I), which a new network is near, so no ratio is extreme; rewards and advantages are noise.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from gipo_cli.data.trajectories import Trajectories

OBSERVATION, ACTION = 11, 3  # numbers in each
HIDDEN = (256, 256)
EPISODE = 500  # steps of each episode


@dataclass(frozen=True)
class Arrays:
    """One row a step, float32."""

    observation: np.ndarray  # [N, O]
    action: np.ndarray  # [N, A]
    log_prob: np.ndarray  # [N]
    reward: np.ndarray  # [N]
    advantage: np.ndarray  # [N]

    def __len__(self) -> int:
        return len(self.reward)

    @property
    def ends(self) -> np.ndarray:
        """Whether a step is the last of its episode, [N]; every second end is a cut."""
        last = np.arange(len(self)) % EPISODE == EPISODE - 1
        last[-1] = True
        return last

    @property
    def terminated(self) -> np.ndarray:
        """Ends that are true ends, [N]."""
        return self.ends & (np.arange(len(self)) // EPISODE % 2 == 0)


def arrays(rows: int) -> Arrays:
    """The same numbers whenever it is asked."""
    draw = np.random.default_rng(0)
    observation = draw.standard_normal((rows, OBSERVATION), np.float32)
    action = draw.standard_normal((rows, ACTION), np.float32)
    log_prob = -0.5 * (action**2 + np.log(2 * np.pi)).sum(1)
    reward, advantage = draw.standard_normal((2, rows), np.float32)
    return Arrays(observation, action, log_prob.astype(np.float32), reward, advantage)


def log(rows: int) -> "Trajectories":
    """The same as a log of gipo's."""
    from gipo_cli.data.trajectories import ActionSpace, Trajectories

    made = arrays(rows)
    starts = np.append(0, np.flatnonzero(made.ends) + 1)
    return Trajectories(
        name="made-up",
        source="made up",
        observations=made.observation,
        actions=made.action,
        rewards=made.reward,
        behaviour_log_probs=made.log_prob,
        terminated=made.terminated,
        truncated=made.ends & ~made.terminated,
        final_observations=made.observation[starts[1:] - 1],
        episode_starts=starts,
        action_space=ActionSpace((ACTION,), np.full(ACTION, -np.inf), np.full(ACTION, np.inf)),
        convention="gaussian",
    )
