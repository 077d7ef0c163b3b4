"""What a run's policy and its behaviour policy earn in the environment of the log, as one document."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch

from gipo_cli.errors import RunError, SettingError
from gipo_cli.evaluation.environments import make_environments
from gipo_cli.evaluation.intervals import difference_of_means
from gipo_cli.evaluation.rollouts import SIDE_BY_SIDE, Returns, rollout
from gipo_cli.evaluation.scores import score
from gipo_cli.policies.policy import Policy
from gipo_cli.policies.weights import load_policy
from gipo_cli.runs import RunDirectory
from gipo_cli.training import checkpoints

MODES = ("stochastic", "deterministic")
PER_EPISODE = ("returns", "lengths")

Watch = Callable[[int], AbstractContextManager[Callable[[int], None]]]


def evaluate_run(
    run: RunDirectory,
    environment: str | None,
    episodes: int,
    *,
    seed: int,
    step: int | None,
    watch: Watch,
    warn: Callable[[str], None],
) -> dict[str, Any]:
    """Roll out the policy of a checkpoint, and the behaviour policy where the run has it, in both modes.

    Args:
        run: whose policies.
        environment: Gymnasium's name, as the user gave it; None takes that of the log.
        episodes: of each policy, in each mode.
        seed: of starts and of the policies' noise.
        step: of the checkpoint; None takes the newest whole one.
        watch: given the number of episodes in all, shows how many are done.
        warn: told what is doubtful.

    Returns:
        What evaluation.json holds: for each policy and mode the figures, and the return and length of every episode.

    Raises:
        SettingError: no environment is named, or it cannot be made.
        RunError: there is no such whole checkpoint.
        DataError: the policy does not fit the environment.
    """
    torch.set_num_threads(1)
    environment_id = environment or _environment_of(run)
    policy, evaluated_step = policy_of_run(run, step, warn)
    policies = {"policy": policy}
    if (run.path / "behaviour.safetensors").is_file():
        policies["behaviour"] = load_policy(run.path / "behaviour.safetensors")[0]
    made = make_environments(environment_id, min(episodes, SIDE_BY_SIDE), named_by_user=environment is not None)
    jobs = [(name, mode) for name in policies for mode in MODES]
    found: dict[tuple[str, str], Returns] = {}
    with watch(len(jobs) * episodes) as advance:
        for name, mode in jobs:
            stochastic = mode == "stochastic"
            found[name, mode] = rollout(
                policies[name], made, episodes, seed=seed, stochastic=stochastic, on_episode=advance
            )
    gain = None
    if "behaviour" in policies:
        gain = difference_of_means(found["policy", "stochastic"].returns, found["behaviour", "stochastic"].returns)
    return {
        "run": str(run.path),
        "environment": environment_id,
        "step": evaluated_step,
        "seed": seed,
        "policy": {mode: _figures(environment_id, found["policy", mode]) for mode in MODES},
        "behaviour": {mode: _figures(environment_id, found["behaviour", mode]) for mode in MODES} if gain else None,
        "gain": gain,
    }


def without_episodes(document: dict[str, Any]) -> dict[str, Any]:
    """The document without what each single episode gave: what `gipo evaluate --json` prints."""

    def brief(modes: dict[str, Any] | None) -> dict[str, Any] | None:
        if modes is None:
            return None
        return {mode: {k: v for k, v in found.items() if k not in PER_EPISODE} for mode, found in modes.items()}

    return {**document, "policy": brief(document["policy"]), "behaviour": brief(document["behaviour"])}


def _figures(environment_id: str, found: Returns) -> dict[str, Any]:
    return {
        "mean": found.mean,
        "standard_error": found.standard_error,
        "episodes": len(found.returns),
        "score": score(environment_id, found.mean),
        "mean_length": float(found.lengths.mean()),
        "returns": found.returns.tolist(),
        "lengths": found.lengths.tolist(),
    }


def _environment_of(run: RunDirectory) -> str:
    named = run.record().get("dataset", {}).get("environment")
    if not named:
        raise SettingError(
            f"the log of {run.path} names no environment.",
            f"Name it: gipo evaluate {run.path} --environment Hopper-v5",
        )
    return str(named)


def policy_of_run(run: RunDirectory, step: int | None, warn: Callable[[str], None]) -> tuple[Policy, int]:
    """The policy of a checkpoint, and the checkpoint's step; the newest whole one where none is named.

    Raises:
        RunError: there is no such whole checkpoint.
    """
    if step is not None:
        checkpoint = checkpoints.load(run.path / "checkpoints" / f"step-{step:08d}")
        return checkpoints.policy_of(checkpoint), checkpoint.step
    checkpoint = checkpoints.load_latest(run.path)
    if checkpoint is None:
        raise RunError(f"{run.path} has no whole checkpoint yet.", f"Continue it with: gipo train --resume {run.path}")
    for warning in checkpoint.warnings:
        warn(warning)
    return checkpoints.policy_of(checkpoint), checkpoint.step
