"""Turn arrays of your own into a log that `gipo train --dataset` reads.

    python examples/bring_your_own_log.py my-log.hdf5
    gipo datasets info my-log.hdf5

The arrays here come from a toy: a point on a line that a Gaussian policy pushes towards 0. Replace `collect` by
your own.
"""

import sys

import h5py
import numpy as np

EPISODES, STEPS, STD = 40, 50, 0.5


def collect(rng):
    """Columns of all episodes laid end to end, one row a step."""
    rows = []
    for _ in range(EPISODES):
        position = rng.normal()
        for step in range(STEPS):
            mean = -0.3 * position
            action = rng.normal(mean, STD)  # what was sampled, before anything clips it
            log_prob = -0.5 * ((action - mean) / STD) ** 2 - np.log(STD * np.sqrt(2 * np.pi))
            following = position + 0.5 * np.clip(action, -1, 1)
            rows.append((position, following, action, -(following**2), log_prob, step == STEPS - 1))
            position = following
    return [np.array(column, np.float32) for column in zip(*rows, strict=True)]


def main(path):
    position, following, action, reward, log_prob, last = collect(np.random.default_rng(0))
    with h5py.File(path, "x") as file:
        file["observations"] = position[:, None]
        file["next_observations"] = following[:, None]
        file["actions"] = action[:, None]
        file["rewards"] = reward
        file["terminals"] = np.zeros(len(reward), bool)  # nothing follows a terminal step
        file["timeouts"] = last.astype(bool)  # a cut episode would have gone on
        file["infos/action_log_probs"] = log_prob  # natural log of beta(a|s), summed over action dimensions
        file.attrs["output_distribution"] = "gaussian"  # or tanh_gaussian, categorical


if __name__ == "__main__":
    main(sys.argv[1])
