"""How often a policy succeeds, and what it earns, over whole episodes.

    python success.py reach-v3 runs/metaworld/reach-v3-gipo-0 --episodes 50

One JSON document on stdout. The episodes are those of `gipo evaluate`: the same starts, and the same noise where there
are as many of them, so the returns are those that it reports. An episode succeeds if it ever did, at any of its steps:
a door that swings on past its goal was opened.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import gymnasium
import torch
from bins import EXPERTS, environment_id

from gipo_cli.evaluation.rollouts import rollout
from gipo_cli.training import saved_policies


class Watched(gymnasium.Wrapper):
    """An environment that notes whether its episode succeeded yet."""

    succeeded = False

    def reset(self, **options: Any) -> Any:
        """Forget the last episode."""
        self.succeeded = False
        return self.env.reset(**options)

    def step(self, action: Any) -> Any:
        """Note success, which may pass."""
        step = self.env.step(action)
        self.succeeded |= bool(step[-1]["success"])
        return step


def main() -> None:
    """Roll out what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=EXPERTS)
    parser.add_argument("policy", type=Path, help="a run, or a .safetensors policy")
    parser.add_argument("--episodes", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    # One for each episode: an environment that went on to another would forget.
    made = [Watched(gymnasium.make(environment_id(given.task))) for _ in range(given.episodes)]
    found = rollout(saved_policies.load(given.policy).policy, made, given.episodes, seed=given.seed, stochastic=True)
    succeeded = [environment.succeeded for environment in made]
    success = sum(succeeded) / given.episodes
    document = {
        "task": given.task, "policy": str(given.policy), "seed": given.seed, "episodes": given.episodes,
        "success": success, "mean": found.mean, "standard_error": found.standard_error,
        "succeeded": succeeded, "returns": found.returns.tolist(),
    }  # fmt: skip
    print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main()
