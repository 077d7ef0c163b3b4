"""Policies from and to files: D4RL's arrays, and safetensors with the spec in its metadata. Never pickle."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from gipo_cli import durable
from gipo_cli.data.trajectories import BehaviourWeights
from gipo_cli.errors import DataError, brief
from gipo_cli.policies.policy import ACTIVATIONS, DISTRIBUTIONS, Policy, PolicySpec

SPEC_KEY = "gipo_policy_spec"


def policy_from_arrays(
    arrays: Mapping[str, np.ndarray],
    *,
    nonlinearity: str,
    distribution: str,
    observation_clip: float | None = None,
    observation_epsilon: float = 1e-8,
    log_std_bounds: tuple[float, float] | None = None,
    choices: tuple[int, ...] = (),
    source: str = "the behaviour policy's weights",
) -> Policy:
    """Build a policy from arrays named as in D4RL's metadata/policy: fc0/weight [out, in], ..., last_fc/bias.

    A policy that standardised its observations carries observation_mean and observation_variance; they are folded
    into the policy's own standardisation, so it acts on raw observations.

    Raises:
        DataError: an array is missing, not finite or of the wrong shape, or the network is of a kind not known.
    """
    if nonlinearity not in ACTIVATIONS or distribution not in DISTRIBUTIONS:
        raise DataError(
            f"{source}: a {nonlinearity!r} network with a {distribution!r} output cannot be rebuilt.",
            f"Known: {', '.join(ACTIVATIONS)} networks with {', '.join(DISTRIBUTIONS)} outputs.",
        )
    try:
        hidden = [arrays[f"fc{i}/bias"].shape[0] for i in range(len(arrays)) if f"fc{i}/bias" in arrays]
        spec = PolicySpec(
            distribution=distribution,
            observation_size=arrays["fc0/weight" if hidden else "last_fc/weight"].shape[1],
            action_size=arrays["last_fc/bias"].shape[0],
            hidden_sizes=tuple(hidden),
            activation=nonlinearity,
            state_dependent_std="log_std" not in arrays,
            choices=choices,
        )
    except (KeyError, IndexError) as error:
        raise DataError(
            f"{source}: the weights lack {error}.", f"They hold: {', '.join(sorted(arrays)[:40]) or 'nothing'}."
        ) from error
    except ValueError as error:
        raise DataError(f"{source}: {brief(error)}.") from error
    if observation_clip is not None:
        spec = replace(spec, observation_clip=observation_clip)
    if log_std_bounds is not None:
        spec = replace(spec, log_std_bounds=log_std_bounds)
    state = {name.replace("/", "."): np.asarray(value) for name, value in arrays.items()}
    mean, variance = state.pop("observation_mean", None), state.pop("observation_variance", None)
    if (mean is None) != (variance is None):
        raise DataError(f"{source}: of observation_mean and observation_variance it holds one; expected both or none.")
    if mean is not None and variance is not None:
        if not (variance.astype(np.float64) + observation_epsilon > 0).all():
            raise DataError(f"{source}: observation_variance holds numbers that are not above 0.")
        state["observation_mean"] = mean
        state["observation_scale"] = np.sqrt(variance.astype(np.float64) + observation_epsilon)
    return _load(Policy(spec), {k: torch.from_numpy(v.astype(np.float32)) for k, v in state.items()}, source)


def policy_from_weights(weights: BehaviourWeights, source: str) -> Policy:
    """The network that made a log, rebuilt from the weights the log carries."""
    return policy_from_arrays(
        weights.arrays,
        nonlinearity=weights.nonlinearity,
        distribution=weights.output_distribution,
        observation_clip=weights.observation_clip,
        observation_epsilon=weights.observation_epsilon,
        log_std_bounds=weights.log_std_bounds,
        choices=weights.choices,
        source=source,
    )


def weights_of(policy: Policy) -> BehaviourWeights:
    """A policy as a log carries it."""
    spec = policy.spec
    return BehaviourWeights(
        arrays=policy_to_arrays(policy),
        nonlinearity=cast(Any, spec.activation),
        output_distribution=cast(Any, spec.distribution),
        observation_clip=None if math.isinf(spec.observation_clip) else spec.observation_clip,
        observation_epsilon=0.0,  # the variance of policy_to_arrays has it in already
        log_std_bounds=spec.log_std_bounds,
        choices=spec.choices,
    )


def policy_to_arrays(policy: Policy) -> dict[str, np.ndarray]:
    """The policy's weights under D4RL's names; observation_variance is the square of the scale, epsilon included."""
    state = {name: value.detach().cpu().numpy() for name, value in policy.state_dict().items()}
    mean, scale = state.pop("observation_mean"), state.pop("observation_scale")
    arrays = {name.replace(".", "/"): value for name, value in state.items()}
    if mean.any() or (scale != 1).any():
        arrays["observation_mean"] = mean.astype(np.float64)
        arrays["observation_variance"] = scale.astype(np.float64) ** 2
    return arrays


def save_policy(policy: Policy, path: Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write a policy as safetensors, its spec in the metadata."""
    tensors = {name: value.detach().cpu().contiguous() for name, value in policy.state_dict().items()}
    described = {SPEC_KEY: json.dumps(policy.spec.to_dict()), **(metadata or {})}
    durable.write(path, save(tensors, metadata=described))


def load_policy(path: Path) -> tuple[Policy, dict[str, str]]:
    """Read a policy from safetensors: one that `save_policy` wrote, or arrays under D4RL's names.

    The second kind names its network in the metadata: nonlinearity, output_distribution and, where it has them,
    observation_clip, observation_epsilon, log_std_clip ("low,high"), choices ("256,256,256,256").

    Returns:
        The policy and the file's metadata.

    Raises:
        DataError: the file is missing, damaged, or not a policy.
    """
    tensors, metadata = _read_safetensors(path)
    if SPEC_KEY in metadata:
        try:
            policy = Policy(PolicySpec.from_dict(json.loads(metadata[SPEC_KEY])))
        except (ValueError, KeyError, TypeError, RuntimeError) as error:
            raise DataError(f"{path}: its policy description is damaged ({brief(error)}).") from error
        return _load(policy, tensors, str(path)), metadata
    if "output_distribution" not in metadata:
        raise DataError(
            f"{path} does not say which policy its weights belong to.",
            "Expected safetensors with 'nonlinearity' and 'output_distribution' in its metadata.",
        )
    return policy_from_arrays(
        {name: tensor.double().numpy() for name, tensor in tensors.items()},  # numpy has no bfloat16
        source=str(path),
        **_network_of(metadata, path),
    ), metadata


def _network_of(metadata: Mapping[str, str], path: Path) -> dict[str, Any]:
    try:
        bounds = metadata.get("log_std_clip")
        clip = metadata.get("observation_clip")
        return {
            "nonlinearity": metadata.get("nonlinearity", ""),
            "distribution": metadata["output_distribution"],
            "observation_clip": float(clip) if clip else None,
            "observation_epsilon": float(metadata.get("observation_epsilon", "1e-8")),
            "log_std_bounds": tuple(map(float, bounds.split(","))) if bounds else None,
            "choices": tuple(map(int, metadata["choices"].split(","))) if metadata.get("choices") else (),
        }
    except ValueError as error:
        raise DataError(f"{path}: its metadata holds a number that cannot be read ({brief(error)}).") from error


def _read_safetensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    if not path.is_file():
        raise DataError(f"there is no policy file {path}.", "Expected a .safetensors file.")
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path} is not a readable safetensors file ({brief(error)}).") from error


def _load(policy: Policy, state: Mapping[str, torch.Tensor], source: str) -> Policy:
    """Load weights, saying which one does not fit rather than torch's page of text."""
    expected = policy.state_dict()
    standardisation = {"observation_mean", "observation_scale"}
    missing = sorted(set(expected) - set(state) - standardisation)
    unknown = sorted(set(state) - set(expected))
    if missing or unknown:
        raise DataError(f"{source}: weights missing {missing or 'none'}, not expected {unknown or 'none'}.")
    for name, value in state.items():
        if value.shape != expected[name].shape:
            raise DataError(f"{source}: {name} has shape {list(value.shape)}, expected {list(expected[name].shape)}.")
        if not torch.isfinite(value).all():
            raise DataError(f"{source}: {name} holds numbers that are not finite.")
    policy.load_state_dict({**expected, **state})
    return policy
