"""`gipo datasets record`: a log from a policy that acts."""

import hashlib
import math
from pathlib import Path
from typing import Annotated

import typer

from gipo_cli import __version__


def datasets_record(
    environment: Annotated[str, typer.Option(help="Gymnasium's name, such as Hopper-v5.")],
    policy: Annotated[Path, typer.Option(help="A .safetensors policy.")],
    out: Annotated[Path, typer.Option(help="HDF5 file to make; never overwritten.")],
    steps: Annotated[int, typer.Option(min=1, help="At least so many; episodes are finished.")] = 200_000,
    environments: Annotated[int, typer.Option(min=1, max=1024, help="Stepped side by side.")] = 16,
    seed: Annotated[int, typer.Option(min=0, help="Of the policy's noise and of every reset.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON document.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print no progress.")] = False,
) -> None:
    """Record a log with exact log-probabilities from a policy acting in an environment."""
    from contextlib import nullcontext
    from importlib.metadata import PackageNotFoundError, version

    import torch

    from gipo_cli.data.recording import action_space_of, record
    from gipo_cli.data.trajectories import BehaviourWeights
    from gipo_cli.data.writers.d4rl import refuse_existing, write
    from gipo_cli.errors import SettingError
    from gipo_cli.evaluation.environments import make_environments
    from gipo_cli.policies.weights import load_policy, policy_to_arrays
    from gipo_cli.rendering import terminal

    refuse_existing(out)
    torch.set_num_threads(1)  # sums in one order: the same seed gives the same bytes on any number of cores
    acting, metadata = load_policy(policy)
    made = make_environments(environment, environments)
    expected = made[0].observation_space.shape
    if expected is None or acting.spec.observation_size != math.prod(expected):
        raise SettingError(f"{policy} takes {acting.spec.observation_size} observations; {environment} has {expected}.")
    if acting.spec.action_size != (action_space_of(made[0], environment).n or made[0].action_space.shape[0]):
        raise SettingError(f"{policy} has {acting.spec.action_size} actions, which {environment} has not.")
    weights = BehaviourWeights(
        arrays=policy_to_arrays(acting),
        nonlinearity=acting.spec.activation,  # pyright: ignore[reportArgumentType]
        output_distribution=acting.spec.distribution,  # pyright: ignore[reportArgumentType]
        observation_clip=None if math.isinf(acting.spec.observation_clip) else acting.spec.observation_clip,
        observation_epsilon=0.0,  # the variance of policy_to_arrays has it in already
        log_std_bounds=acting.spec.log_std_bounds,
    )
    with nullcontext(lambda n=1: None) if quiet else terminal.progress("recording", steps) as advance:
        log = record(
            acting, made, name=out.stem, environment_id=environment, convention=weights.output_distribution,
            weights=weights, steps=steps, seed=seed, on_steps=advance,
        )  # fmt: skip
    origin: dict[str, str | int] = {
        "policy": policy.name,
        "policy_sha256": hashlib.sha256(policy.read_bytes()).hexdigest(),
        "algorithm": metadata.get("algorithm", ""),
        "policy_training_steps": metadata.get("steps", ""),
        "seed": seed,
        "environments": environments,
        "gipo": __version__,
    }
    for package in ("gymnasium", "mujoco", "torch", "numpy"):
        try:
            origin[package] = version(package)
        except PackageNotFoundError:
            continue
    write(log, out, origin)
    returns = log.episode_returns
    summary = {
        "file": str(out),
        "fingerprint": log.fingerprint,
        "transitions": log.transitions,
        "episodes": log.episodes,
        "mean_return": float(returns.mean()),
        "standard_error": float(returns.std(ddof=1) / len(returns) ** 0.5) if len(returns) > 1 else None,
        "bytes": out.stat().st_size,
    }
    if json:
        terminal.json_document(summary)
    else:
        terminal.table("", ["recorded", str(out)], [[name, value] for name, value in summary.items() if name != "file"])
