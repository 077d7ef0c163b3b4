"""Bias and variance of every objective's gradient on the 2 x 2 GridWorld of GIPO's authors, exact over the actions.

    python examples/studies/gridworld.py > examples/studies/gridworld.md

States are top left (S0), top right, bottom left and the goal, which absorbs; actions up, down, left, right; a wall
stays; reward -1 a step; gamma 0.9. An estimator is weight(ratio) * A(S0, a) * grad log pi(right | S0) at one action
drawn by mu at S0: its mean and variance are sums over four actions, nothing is sampled. Bias is against the mean of
No-Clip; of n actions averaged the squared error is bias^2 + variance / n. It takes a second.
"""

from collections import Counter

import numpy as np
import torch

from gipo_cli.objectives.effective_weight import effective_weight
from gipo_cli.registry import OBJECTIVES

GAMMA = 0.9
NEXT = ((0, 2, 0, 1), (1, 3, 0, 1), (0, 2, 2, 3))  # of each state, by action; 3 is the goal
SAMPLES = (1, 8, 64, 512, 4096)
ALIKE = 1e-9  # squared errors nearer to one another than this share are a tie

TARGETS = {
    "PI-1": ((0.20, 0.30, 0.20, 0.30), (0.15, 0.45, 0.25, 0.15), (0.15, 0.15, 0.25, 0.45)),
    "PI-2": ((0.10, 0.40, 0.10, 0.40), (0.10, 0.60, 0.20, 0.10), (0.10, 0.10, 0.20, 0.60)),
    "PI-3": ((0.05, 0.45, 0.05, 0.45), (0.05, 0.75, 0.10, 0.10), (0.05, 0.10, 0.10, 0.75)),
}
N1, N2, N3, N4, N5 = np.array(
    [(0.30, 0.20, 0.30, 0.20), (0.25, 0.30, 0.20, 0.25), (0.20, 0.35, 0.20, 0.25), (0.32, 0.18, 0.28, 0.22),
     (0.12, 0.38, 0.12, 0.38)]
)  # fmt: skip
UNIFORM = np.full(4, 0.25)
RIGHT, DOWN = (np.exp(logits) / np.exp(logits).sum() for logits in np.eye(4)[[3, 1]])  # softmax of one logit of 1
BEHAVIOURS = {
    "A": UNIFORM,
    "B": 0.4 * UNIFORM + 0.3 * RIGHT + 0.3 * DOWN,
    "C": 0.2 * UNIFORM + 0.4 * RIGHT + 0.4 * DOWN,
    "D": None,  # the target itself
    "E": 0.45 * N1 + 0.35 * N4 + 0.2 * UNIFORM,
    "F": 0.45 * N2 + 0.35 * N5 + 0.2 * UNIFORM,
    "G": 0.4 * N3 + 0.3 * N4 + 0.3 * N5,
}
ESTIMATORS: dict[str, tuple[str, dict[str, float]]] = {
    "No-Clip": ("no-clip", {}),
    **{f"GIPO {sigma:g}": ("gipo", {"sigma": sigma}) for sigma in (0.1, 0.3, 0.5, 1.0, 2.0)},
    "PPO-Clip": ("ppo-clip", {}),
    "SAPO": ("sapo", {"tau_negative": 2.0}),
}


def advantages(target: str) -> tuple[float, np.ndarray]:
    """V(S0) and A(S0, .) of a target policy, by a linear solve."""
    system = np.eye(3)
    for state, row in enumerate(TARGETS[target]):
        for action, probability in enumerate(row):
            if NEXT[state][action] < 3:
                system[state, NEXT[state][action]] -= GAMMA * probability
    values = np.append(np.linalg.solve(system, np.full(3, -1.0)), 0.0)
    return float(values[0]), -1 + GAMMA * values[list(NEXT[0])] - values[0]


def behaviour(name: str, target: str) -> np.ndarray:
    """mu(. | S0)."""
    found = BEHAVIOURS[name]
    return np.array(TARGETS[target][0]) if found is None else found


def moments(objective: str, settings: dict[str, float], target: str, mu: np.ndarray) -> tuple[float, float]:
    """Mean and variance of one action's gradient for the logit of `right` at S0."""
    pi = np.array(TARGETS[target][0])
    _, advantage = advantages(target)
    weight = effective_weight(
        OBJECTIVES.load(objective), torch.as_tensor(np.log(pi / mu)), torch.as_tensor(advantage), **settings
    ).numpy()
    gradient = weight * advantage * (np.eye(4)[3] - pi[3])
    mean = float(mu @ gradient)
    return mean, float(mu @ (gradient - mean) ** 2)


def bias_and_variance(estimator: str, target: str, mu: np.ndarray) -> tuple[float, float]:
    """Of an estimator's one-action gradient; the bias is against No-Clip's mean."""
    mean, variance = moments(*ESTIMATORS[estimator], target, mu)
    return abs(mean - moments("no-clip", {}, target, mu)[0]), variance


def dead(estimator: str, target: str, mu: np.ndarray) -> bool:
    """Whether the gradient is zero whatever the action."""
    return moments(*ESTIMATORS[estimator], target, mu) == (0.0, 0.0)


def best(target: str, mu: np.ndarray, samples: int) -> list[str]:
    """The estimators of the smallest squared error over so many actions; those that are dead do not count."""
    errors = {}
    for name in ESTIMATORS:
        if not dead(name, target, mu):
            bias, variance = bias_and_variance(name, target, mu)
            errors[name] = bias**2 + variance / samples
    least = min(errors.values())
    return [name for name, error in errors.items() if error <= least * (1 + ALIKE)]


def main() -> None:
    """Print the tables as Markdown."""
    cases = [(target, name) for target in TARGETS for name in BEHAVIOURS]
    print("# Bias and variance on the 2 x 2 GridWorld\n")
    print("`python examples/studies/gridworld.py`; the gradient for (S0, right), one action, exact: bias / variance.")
    print("PPO-Clip with epsilon 0.2, SAPO with tau 1 and 2; *dead*: zero whatever the action.\n")
    print("| target, behaviour | " + " | ".join(ESTIMATORS) + " |")
    print("|---" * (len(ESTIMATORS) + 1) + "|")
    for target, name in cases:
        mu = behaviour(name, target)
        cells = [
            "dead" if dead(e, target, mu) else "{:.4f} / {:.4f}".format(*bias_and_variance(e, target, mu))
            for e in ESTIMATORS
        ]
        print(f"| {target}, {name} | " + " | ".join(cells) + " |")
    print(
        "\nCases of the smallest squared error, by how many actions are averaged; where mu is pi (D) all are alike.\n"
    )
    print("| actions | " + " | ".join(ESTIMATORS) + " |")
    print("|---" * (len(ESTIMATORS) + 1) + "|")
    for samples in SAMPLES:
        wins = Counter(
            w for target, name in cases if name != "D" for w in best(target, behaviour(name, target), samples)
        )
        print(f"| {samples:,} | " + " | ".join(str(wins[e]) for e in ESTIMATORS) + " |")
    of_ppo = sum(dead("PPO-Clip", target, behaviour(name, target)) for target, name in cases)
    print(f"\nPPO-Clip is dead in {of_ppo} of {len(cases)} cases. One action alone favours the narrowest sigma, for it")
    print("shrinks nearly everything to zero; the more actions are averaged, the wider the best sigma, up to No-Clip.")


if __name__ == "__main__":
    main()
