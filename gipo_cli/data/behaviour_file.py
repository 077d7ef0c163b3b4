"""The weights of a behaviour policy from the safetensors file that lies beside a log."""

from pathlib import Path
from typing import Any, cast

from gipo_cli.data.trajectories import CONVENTIONS, BehaviourWeights, Convention
from gipo_cli.errors import DataError, brief

NAME = "behaviour_policy.safetensors"


def behaviour_weights(path: Path) -> BehaviourWeights | None:
    """Weights under D4RL's names with their network in the metadata, as `policies.weights.load_policy` documents it.

    Raises:
        DataError: the file is damaged, a link, or does not say which network it is of.
    """
    if path.is_symlink():
        raise DataError(f"{path} is a link, which is not followed.", "Store the weights themselves.")
    if not path.is_file():
        return None
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            names = list(file.keys())
            arrays = {name: file.get_tensor(name) for name in names}
            metadata = dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise DataError(f"{path} is not a readable safetensors file ({brief(error)}).") from error
    distribution, nonlinearity = metadata.get("output_distribution"), metadata.get("nonlinearity")
    if distribution not in CONVENTIONS or nonlinearity not in ("relu", "tanh"):
        raise DataError(
            f"{path} does not say which policy its weights belong to.",
            "Expected 'nonlinearity' (relu, tanh) and 'output_distribution' in its metadata.",
        )
    try:
        clip, bounds = metadata.get("observation_clip"), metadata.get("log_std_clip")
        limits = tuple(map(float, bounds.split(","))) if bounds else None
        if limits is not None and len(limits) != 2:
            raise ValueError(f"log_std_clip is {bounds}")
        return BehaviourWeights(
            arrays=arrays,
            nonlinearity=cast(Any, nonlinearity),
            output_distribution=cast(Convention, distribution),
            observation_clip=float(clip) if clip else None,
            observation_epsilon=float(metadata.get("observation_epsilon", "1e-8")),
            log_std_bounds=cast(Any, limits),
            choices=tuple(map(int, metadata["choices"].split(","))) if metadata.get("choices") else (),
        )
    except ValueError as error:
        raise DataError(f"{path}: its metadata holds a number that cannot be read ({brief(error)}).") from error
