"""Tasks of Meta-World whose actions are chosen from 256 bins in each of four dimensions, under Gymnasium's names.

    gipo datasets record --environment bins:gipo/reach-v3 --policy reach-v3.safetensors --out reach-v3.hdf5

in this folder, or with it on the PYTHONPATH: the module before the colon is imported and registers what is behind it.
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, MultiDiscrete
from metaworld.env_dict import ALL_V3_ENVIRONMENTS
from metaworld.policies import SawyerDoorOpenV3Policy, SawyerDrawerCloseV3Policy, SawyerReachV3Policy

EXPERTS = {
    "reach-v3": SawyerReachV3Policy,
    "door-open-v3": SawyerDoorOpenV3Policy,
    "drawer-close-v3": SawyerDrawerCloseV3Policy,
}
BINS, DIMENSIONS = 256, 4
CENTRES = (np.arange(BINS) + 0.5) / BINS * 2 - 1
# Meta-World's own limit is 500. The scripted experts succeed within 120 steps; what follows only holds the arm still,
# and would be most of a log and of a return.
STEPS = 200


def environment_id(task: str) -> str:
    """As Gymnasium and gipo take it: the module that registers the environment, and its name."""
    return f"bins:gipo/{task}"


def nearest_bins(actions: np.ndarray) -> np.ndarray:
    """Bins whose centres are nearest to actions in [-1, 1]; what lies beyond is in the outermost."""
    return np.clip(np.floor((actions + 1) / 2 * BINS), 0, BINS - 1).astype(np.int64)


class Binned(gymnasium.Env):
    """One task with a start and a goal of its own each episode, both drawn from the seed of the reset.

    The goal is in the observation, as in Meta-World's MT benchmarks; in its ML benchmarks it is hidden. Success does
    not end the episode, as in Meta-World's training; info["success"] says of each step whether it holds there, and an
    episode counts as one if it ever held, as in Meta-World's evaluation. The reward, 0 to 10 a step, is its own.
    """

    def __init__(self, task: str) -> None:
        self.inner = _goal_in_sight(task)
        self.observation_space = Box(-np.inf, np.inf, self.inner.sawyer_observation_space.shape, np.float32)
        self.action_space = MultiDiscrete([BINS] * DIMENSIONS)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """Start an episode; without a seed the draws go on where the last episode left them."""
        super().reset(seed=seed)
        if seed is not None:
            self.inner.seed(seed)  # its reset has a parameter of that name and ignores it
        observation, info = self.inner.reset()
        return observation.astype(np.float32), info

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
        """Move by the centres of the bins."""
        observation, reward, terminated, truncated, info = self.inner.step(CENTRES[action])
        return observation.astype(np.float32), float(reward), terminated, truncated, info


def _goal_in_sight(task: str) -> Any:
    """Meta-World's environment, which is made for its benchmarks: goals come from a list, and are hidden."""
    inner = ALL_V3_ENVIRONMENTS[task]()
    inner._set_task_called = True  # there is no list
    inner._freeze_rand_vec = False  # a goal of its own each episode
    inner.seeded_rand_vec = True  # drawn from the environment's generator, not numpy's global one
    inner._partially_observable = False
    del inner.sawyer_observation_space  # cached with the goal's bounds at 0, to which observations are clipped
    return inner


for _task in EXPERTS:
    gymnasium.register(f"gipo/{_task}", entry_point=Binned, kwargs={"task": _task}, max_episode_steps=STEPS)
