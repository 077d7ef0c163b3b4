"""Steps a second of a policy in its environment, held against the environment alone, stepped with one fixed action."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gipo_cli.errors import SettingError
from gipo_cli.evaluation.environments import make_environments
from gipo_cli.evaluation.rollouts import rollout
from gipo_cli.policies.weights import load_policy
from tests.benchmarks.comparison import Comparison, Subject, Timed
from tests.benchmarks.scale import Scale

POLICIES = Path(__file__).parent.parent.parent / "datasets" / "policies"
MADE_BY = {"CartPole-v1": "cartpole-ppo/cartpole-ppo-medium", "Hopper-v5": "hopper-sac-130k"}


def comparisons(scale: Scale) -> Iterator[Comparison]:
    """One for each environment."""
    for environment, policy in MADE_BY.items():
        yield Comparison(
            f"rollouts in {environment}, {scale.episodes} side by side",
            "steps",
            {
                "gipo": lambda e=environment, p=policy: rolled_out(e, POLICIES / f"{p}.safetensors", scale.episodes),
                "the environment alone (limit)": lambda e=environment: stepped(e),
            },
            alone=True,
        )


def rolled_out(environment: str, path: Path, side_by_side: int) -> Subject:
    """Whole episodes with sampled actions, as `gipo evaluate` makes them."""
    made, (policy, _) = environments(environment, side_by_side), load_policy(path)

    def work(episodes: int) -> Timed:
        began = time.perf_counter()
        found = rollout(policy, made, episodes, seed=0, stochastic=True)
        return Timed(int(found.lengths.sum()), time.perf_counter() - began)

    return Subject(work, side_by_side)


def stepped(environment: str) -> Subject:
    """As many steps as are asked for, an episode begun anew where one ends."""
    (made,) = environments(environment, 1)
    made.reset(seed=0)
    action = made.action_space.sample() * 0

    def work(steps: int) -> None:
        for _ in range(steps):
            _, _, terminated, truncated, _ = made.step(action)
            if terminated or truncated:
                made.reset()

    return Subject(work, 1000)


def environments(name: str, count: int) -> list[Any]:
    """Environments of one kind.

    Raises:
        ImportError: what they need is not installed.
    """
    try:
        return make_environments(name, count)
    except SettingError as error:
        raise ImportError(error.message) from error
