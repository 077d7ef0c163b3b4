"""A corridor whose advantages a linear solve knows, and logs of it."""

from contextlib import contextmanager

import numpy as np
import torch

from gipo_cli.data.trajectories import ActionSpace, Trajectories
from gipo_cli.policies.policy import Policy, PolicySpec
from gipo_cli.training.samples import to_samples

STATES, RIGHT, DISCOUNT = 5, 0.6, 0.9


@contextmanager
def silent(name, total):
    yield lambda n=1, **figures: None


def one_hot(state):
    return np.eye(STATES, dtype=np.float32)[state]


def coin(right=RIGHT):
    """Goes right with the same probability wherever it is."""
    policy = Policy(PolicySpec("categorical", STATES, 2, (4,)))
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.zero_()
        policy.last_fc.bias[1] = np.log(right / (1 - right))
    return policy


def step(state, action):
    """A corridor: the left wall holds, beyond the right end waits a reward of 1; each step costs 0.05."""
    following = max(0, state + (1 if action else -1))
    return following, -0.05 + float(following == STATES), following == STATES


def corridor_log(episodes, cut=40):
    rng = np.random.default_rng(0)
    rows, final, starts = [], [], [0]
    for _ in range(episodes):
        state = int(rng.integers(STATES))
        for t in range(cut):
            action = int(rng.random() < RIGHT)
            following, reward, done = step(state, action)
            truncated = t == cut - 1 and not done
            rows.append((one_hot(state), action, reward, np.log(RIGHT if action else 1 - RIGHT), done, truncated))
            state = following
            if done:
                break
        final.append(one_hot(min(state, STATES - 1)))
        starts.append(len(rows))
    column = [np.array([row[i] for row in rows]) for i in range(6)]
    return Trajectories(
        "corridor", "test", column[0], column[1], column[2], column[3], column[4].astype(bool),
        column[5].astype(bool), np.stack(final), np.array(starts), ActionSpace((), n=2), "categorical",
    )  # fmt: skip


def corridor_samples(episodes, cut=40):
    """A log of the corridor, a tenth of its episodes held out."""
    return to_samples(corridor_log(episodes, cut), 0.1, seed=0, device=torch.device("cpu"))


def exact(right=RIGHT):
    """V [STATES] and Q [STATES, 2] of a coin by a linear solve."""
    transition, reward = np.zeros((STATES, 2, STATES)), np.zeros((STATES, 2))
    for state in range(STATES):
        for action in (0, 1):
            following, reward[state, action], done = step(state, action)
            if not done:
                transition[state, action, following] = 1
    policy = np.array([1 - right, right])
    value = np.linalg.solve(np.eye(STATES) - DISCOUNT * np.einsum("a,sat->st", policy, transition), reward @ policy)
    return value, reward + DISCOUNT * transition @ value


def exact_advantage(right=RIGHT):
    """Q of a coin by a linear solve, centred under the coin that made the log, [STATES, 2]."""
    quality = exact(right)[1]
    return quality - (quality @ np.array([1 - RIGHT, RIGHT]))[:, None]
