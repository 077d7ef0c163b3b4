"""An environment with a choice in each of two dimensions, which Gymnasium's own collection lacks."""

import gymnasium
import numpy as np
from gymnasium.spaces import Box, MultiDiscrete

STEPS = 10


class TwoKnobs(gymnasium.Env):
    """Two numbers are seen, and each knob earns 1 where it points at the third or fifth that its number lies in."""

    observation_space = Box(-1, 1, (2,), np.float32)
    action_space = MultiDiscrete([3, 5], start=[1, -2])

    def reset(self, *, seed=None, options=None):
        """Begin an episode of STEPS steps, none of which bears on the next."""
        super().reset(seed=seed)
        self._taken = 0
        return self._look(), {}

    def step(self, action):
        """Earn 0, 1 or 2."""
        assert self.action_space.contains(np.asarray(action)), action
        self._taken += 1
        third, fifth = np.minimum((self._seen + 1) / 2 * [3, 5], [2, 4]).astype(int)
        reward = float(action[0] - 1 == third) + float(action[1] + 2 == fifth)
        return self._look(), reward, False, self._taken >= STEPS, {}

    def _look(self):
        self._seen = self.np_random.uniform(-1, 1, 2)
        return self._seen.astype(np.float32)


if "TwoKnobs-v0" not in gymnasium.registry:
    gymnasium.register("TwoKnobs-v0", TwoKnobs)
