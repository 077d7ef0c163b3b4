"""Record all that Stable-Baselines3 does while it trains, with the log-prob of every action.

    pip install stable-baselines3
    python examples/record_during_sb3_training.py my-log.hdf5 ppo
    gipo datasets info my-log.hdf5

The log is a replay-like one: `policy_versions` says how many updates the policy had behind it at each step.
"""

import sys

from stable_baselines3 import PPO, SAC

from gipo_cli.collect import LogProbCallback


def main(path, algorithm):
    if algorithm == "ppo":
        model = PPO("MlpPolicy", "Pendulum-v1", n_steps=256, n_epochs=2, seed=0, device="cpu")
    else:
        model = SAC("MlpPolicy", "Pendulum-v1", learning_starts=100, batch_size=32, train_freq=8, seed=0, device="cpu")
    model.learn(600, callback=LogProbCallback(path))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
