"""A mediocre policy for one of the tasks: a network that imitates a scripted expert whose aim is wide and off.

    python behaviour.py reach-v3 --out reach-v3.safetensors

The expert is Meta-World's. It acts by a discretised Gaussian, cut off at the ends of the range, around what it would do
plus a constant drift: were it not for the drift, the policy's mode would be the expert again, and nothing but to act
less randomly would be left to learn. Twenty of its episodes are all that the network sees. Ten seconds a task.
"""

import argparse
import warnings
from pathlib import Path

import gymnasium
import numpy as np
import torch
from bins import BINS, CENTRES, DIMENSIONS, EXPERTS, STEPS, environment_id
from torch.nn.functional import cross_entropy

from gipo_cli.policies.policy import Policy, PolicySpec
from gipo_cli.policies.weights import save_policy

# Of actions, which lie in [-1, 1]: the standard deviation, and the drift of the hand (not of the gripper). Chosen by
# the success of the policies that are made of them, 20 to 60 %; their modes' is 0 to 60 %, the experts' 100 %.
WIDTHS = {"reach-v3": 0.8, "door-open-v3": 0.5, "drawer-close-v3": 0.8}
DRIFTS = {
    "reach-v3": (0.3, 0.3, 0.3, 0),
    "door-open-v3": (-0.25, -0.25, -0.25, 0),
    "drawer-close-v3": (0.3, -0.6, 0.3, 0),
}
EPISODES = 20
UPDATES, BATCH, LEARNING_RATE = 300, 256, 1e-3


def aim(action: np.ndarray, task: str) -> np.ndarray:
    """Probabilities of the bins of each dimension, [4, 256], around an action, which may lie beyond [-1, 1]."""
    middle = np.clip(action, -1, 1) + DRIFTS[task]
    density = np.exp(-((CENTRES - middle[:, None]) ** 2) / (2 * WIDTHS[task] ** 2))
    return density / density.sum(-1, keepdims=True)


def demonstrate(task: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Observations of the expert's episodes, [N, 39], and the distributions it acted by, [N, 4, 256]."""
    environment, expert = gymnasium.make(environment_id(task)), EXPERTS[task]()
    random = np.random.default_rng(seed)
    seen, aims = [], []
    for _ in range(EPISODES):
        observation, _ = environment.reset(seed=int(random.integers(2**31)))
        for _ in range(STEPS):
            seen.append(observation)
            aims.append(aim(expert.get_action(observation.astype(float)), task))
            drawn = [random.choice(BINS, p=p) for p in aims[-1]]
            observation = environment.step(np.array(drawn))[0]
    return np.stack(seen), np.stack(aims).astype(np.float32)


def imitate(seen: np.ndarray, aims: np.ndarray, seed: int) -> Policy:
    """Fit a policy to the distributions by their cross-entropy."""
    torch.manual_seed(seed)
    size = seen.shape[1]
    policy = Policy(PolicySpec("multi_categorical", size, BINS * DIMENSIONS, choices=(BINS,) * DIMENSIONS))
    spread = seen.std(0)
    policy.observation_mean.copy_(torch.as_tensor(seen.mean(0)))
    # What the demonstrations hardly move (padding, a quaternion) stays as small as it is, should it move later.
    policy.observation_scale.copy_(torch.as_tensor(np.where(spread < 1e-3, 1, spread)))
    observations, targets = torch.as_tensor(seen), torch.as_tensor(aims)
    adam = torch.optim.Adam(policy.parameters(), lr=LEARNING_RATE)
    for _ in range(UPDATES):
        rows = torch.randint(len(seen), (BATCH,))
        logits = policy.logits(observations[rows]).view(-1, BINS)
        loss = cross_entropy(logits, targets[rows].view(-1, BINS))
        adam.zero_grad()
        loss.backward()
        adam.step()
    return policy


def main() -> None:
    """Make what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=EXPERTS)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    warnings.filterwarnings("ignore", "Constant")  # the experts' advice on actions beyond the bounds
    torch.set_num_threads(1)  # sums in one order: the same seed gives the same bytes
    policy = imitate(*demonstrate(given.task, given.seed), given.seed)
    about = {"algorithm": "imitation", "steps": str(EPISODES * STEPS), "environment": environment_id(given.task)}
    save_policy(policy, given.out, about)


if __name__ == "__main__":
    main()
