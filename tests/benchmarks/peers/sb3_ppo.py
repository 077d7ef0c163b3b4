"""Stable-Baselines3's `PPO.train`: epochs over a rollout buffer that holds the same arrays; no environment steps."""

import warnings
from typing import Any

from tests.benchmarks.comparison import Subject
from tests.benchmarks.made_up import ACTION, HIDDEN, OBSERVATION, Arrays

UPDATES = 8  # in one epoch over the buffer, which one call of train makes


def updates(made: Arrays, batch: int) -> Subject:
    """With its own settings but for the networks: one for the policy, one of the same size for V."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # imports the unmaintained gym where that is installed
        import stable_baselines3
        from stable_baselines3.common.logger import Logger
    import torch

    shape = {"net_arch": {"pi": [*HIDDEN], "vf": [*HIDDEN]}, "activation_fn": torch.nn.Tanh}
    algorithm = stable_baselines3.PPO(
        "MlpPolicy", _environment(), n_steps=UPDATES * batch, batch_size=batch, n_epochs=1, policy_kwargs=shape,
        seed=0, device="cpu",
    )  # fmt: skip
    algorithm.set_logger(Logger(None, []))
    _fill(algorithm.rollout_buffer, made, UPDATES * batch)

    def train(times: int) -> None:
        for _ in range(times // UPDATES):
            algorithm.train()

    return Subject(train, UPDATES)


def _fill(buffer: Any, made: Arrays, rows: int) -> None:
    """Rows of the log, from its beginning again where it is too short."""
    import numpy as np

    rows_taken = np.arange(rows) % len(made)
    buffer.observations[:] = made.observation[rows_taken, None]
    buffer.actions[:] = made.action[rows_taken, None]
    buffer.log_probs[:] = made.log_prob[rows_taken, None]
    buffer.advantages[:] = made.advantage[rows_taken, None]
    buffer.returns[:] = made.reward[rows_taken, None]
    buffer.full = True


def _environment() -> Any:
    """Spaces alone: nothing ever steps it."""
    import gymnasium
    import numpy as np

    class Spaces(gymnasium.Env):
        observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (OBSERVATION,), np.float32)
        action_space = gymnasium.spaces.Box(-1, 1, (ACTION,), np.float32)

    return Spaces()
