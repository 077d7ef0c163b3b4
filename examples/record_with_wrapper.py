"""Record a log with log-probs while your own agent acts in a Gymnasium environment.

    python examples/record_with_wrapper.py my-log.hdf5
    gipo datasets info my-log.hdf5

The agent here is a hand-written one that pushes CartPole's cart towards where the pole falls. Replace `act` by yours;
all that the recorder asks for is the natural log of the probability that your policy gave to its action.
"""

import sys

import gymnasium
import numpy as np

from gipo_cli.collect import RecordLogProbs

EPISODES = 20
rng = np.random.default_rng(0)


def act(observation):
    """An action and its log-probability."""
    right = 1 / (1 + np.exp(-(8 * observation[2] + 2 * observation[3])))  # the pole's angle, and its speed
    action = int(rng.random() < right)
    return action, np.log(right if action == 1 else 1 - right)


def main(path):
    env = RecordLogProbs(gymnasium.make("CartPole-v1"), path)
    for episode in range(EPISODES):
        observation, _ = env.reset(seed=episode)
        done = False
        while not done:
            action, log_prob = act(observation)
            env.log_prob(log_prob)
            observation, _, terminated, truncated, _ = env.step(action)
            done = terminated or truncated
    env.close()  # writes the log


if __name__ == "__main__":
    main(sys.argv[1])
