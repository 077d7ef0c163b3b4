"""A small log of a Gaussian policy, and the study's ways of spoiling one."""

import importlib.util
from pathlib import Path

import numpy as np

from gipo_cli.data.trajectories import ActionSpace, Trajectories

STUDY = Path(__file__).parents[2] / "examples" / "studies" / "spoiled_logs.py"
specification = importlib.util.spec_from_file_location("spoiled_logs", STUDY)
study = importlib.util.module_from_spec(specification)
specification.loader.exec_module(study)


def gaussian(seed=0, std=0.4, episodes=80, steps=60):
    """A log of a linear Gaussian policy whose actions reach beyond the bounds of [-1, 1]; nothing but columns."""
    rng = np.random.default_rng(seed)
    n = episodes * steps
    observations = rng.standard_normal((n, 3)).astype(np.float32)
    mean = observations[:, :2] * 0.6 - 0.2
    # A width that depends on the state, as most policies have.
    scale = std * np.exp(0.4 * observations[:, 2:])
    noise = rng.standard_normal((n, 2))
    ends = np.arange(n) % steps == steps - 1
    return Trajectories(
        name="gaussian", source="memory", observations=observations,
        actions=(mean + scale * noise).astype(np.float32), rewards=rng.standard_normal(n).astype(np.float32),
        behaviour_log_probs=(-0.5 * noise**2 - np.log(scale) - 0.5 * np.log(2 * np.pi)).sum(1),
        terminated=np.zeros(n, bool), truncated=ends, final_observations=np.zeros((episodes, 3), np.float32),
        episode_starts=np.arange(0, n + 1, steps), convention="gaussian",
        action_space=ActionSpace((2,), np.full(2, -2.0, np.float32), np.full(2, 2.0, np.float32)),
    )  # fmt: skip
