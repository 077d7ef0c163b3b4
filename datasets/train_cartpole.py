"""Train the policy behind cartpole-medium: PPO on CartPole-v1, stopped where it holds the pole a third of the time.

    pip install 'gipo[sb3]' && python datasets/train_cartpole.py cartpole-ppo-medium.safetensors

Every 512 steps the policy is rolled out, and the one whose mean stochastic return lies nearest to 500 / 3, a third of
the most that CartPole pays, is kept. Half a minute on one core.
"""

import sys
from pathlib import Path

import torch
from stable_baselines3 import PPO

from gipo_cli.evaluation.environments import make_environments
from gipo_cli.evaluation.rollouts import rollout
from gipo_cli.policies.stable_baselines3 import from_model
from gipo_cli.policies.weights import save_policy

TARGET, ROUNDS, STEPS, EPISODES, SEED = 500 / 3, 20, 512, 400, 0


def main(path):
    """Write the chosen policy to `path`."""
    torch.set_num_threads(1)
    model = PPO(
        "MlpPolicy", "CartPole-v1", n_steps=STEPS, batch_size=64, learning_rate=3e-4, seed=SEED, device="cpu"
    )  # fmt: skip
    environments = make_environments("CartPole-v1", 100)
    nearest, best = None, (float("inf"), 0.0, 0.0, 0)
    for _ in range(ROUNDS):
        model.learn(STEPS, reset_num_timesteps=False)
        policy = from_model(model)
        found = rollout(policy, environments, EPISODES, seed=SEED, stochastic=True)
        distance = abs(found.mean - TARGET)
        print(f"{model.num_timesteps:6} steps: mean return {found.mean:.0f} ± {found.standard_error:.0f}", flush=True)
        if distance < best[0]:
            nearest, best = policy, (distance, found.mean, found.standard_error, model.num_timesteps)
    save_policy(
        nearest,
        Path(path),
        {
            "environment": "CartPole-v1",
            "algorithm": "PPO",
            "steps": str(best[3]),
            "stochastic_return_mean": f"{best[1]:.1f}",
            "stochastic_return_standard_error": f"{best[2]:.1f}",
        },
    )


if __name__ == "__main__":
    main(sys.argv[1])
