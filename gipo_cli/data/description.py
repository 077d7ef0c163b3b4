"""What gipo's own NPZ and Parquet files say of themselves, beside their columns."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gipo_cli.data import json_text
from gipo_cli.data.trajectories import BehaviourWeights, Convention, Origin
from gipo_cli.errors import DataError

WEIGHTS = "weights/"  # how the names of arrays of the behaviour policy begin
LARGEST_WEIGHTS = 2**30  # bytes of all of them; they are read into memory
LARGEST_EXPANSION = 1100  # bytes out of one: what gzip does at most, as `data.hdf5` has it
LARGEST_DESCRIPTION = 4 * 2**20  # bytes; gipo's own have hundreds


# A number, or a list of one for each dimension of the action.
ActionChoices = Annotated[int, Field(ge=1)] | Annotated[list[Annotated[int, Field(ge=1)]], Field(min_length=1)]


def as_list(choices: int | list[int] | None) -> list[int] | None:
    """The choices of each dimension, from a number where there is one dimension."""
    return [choices] if isinstance(choices, int) else choices


class Weights(BaseModel):
    """What the arrays of the behaviour policy do not say; fields as in BehaviourWeights."""

    model_config = ConfigDict(strict=True)

    nonlinearity: Literal["relu", "tanh"]
    output_distribution: Convention
    observation_clip: float | None = None
    observation_epsilon: float = 1e-8
    log_std_bounds: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None
    choices: list[Annotated[int, Field(ge=1)]] = []


class Description(BaseModel):
    """The JSON text under the name `gipo`."""

    model_config = ConfigDict(strict=True)

    format: Literal[1]
    convention: Convention
    log_probs_origin: Origin
    environment: str | None = None
    action_choices: ActionChoices | None = None
    action_shape: list[Annotated[int, Field(ge=0)]] | None = None
    observation_shape: list[Annotated[int, Field(ge=0)]] | None = None
    weights: Weights | None = None
    repairs: list[str] = []


def describe(text: bytes, where: str) -> Description:
    """Read the description of a file.

    Raises:
        DataError: no JSON, of a later format, or a field that is missing or wrong.
    """
    try:
        return Description.model_validate(json_text.parse(text, where))
    except ValidationError as error:
        wrong = error.errors()[0]
        field = ".".join(map(str, wrong["loc"]))[:80]
        raise DataError(f"{where} is not one that gipo writes ({field or 'all of it'}: {wrong['msg']}).") from error


def require_size(place: Path, sizes: Iterable[int]) -> None:
    """Refuse the arrays of a behaviour policy that claim more together than the file holds, by their sizes in bytes.

    Raises:
        DataError: they do, or no policy is so large.
    """
    size, most = sum(sizes), min(LARGEST_WEIGHTS, place.stat().st_size * LARGEST_EXPANSION)
    if size > most:
        raise DataError(f"{place}: the weights of its policy claim {size:,} bytes; up to {most:,} are read.")


def weights_of(described: Description | None, arrays: dict[str, np.ndarray]) -> BehaviourWeights | None:
    """The behaviour policy of a file, where it has one."""
    found = {name.removeprefix(WEIGHTS): array for name, array in arrays.items() if name.startswith(WEIGHTS)}
    about = described.weights if described else None
    if about is None or not found:
        return None
    bounds = None if about.log_std_bounds is None else (about.log_std_bounds[0], about.log_std_bounds[1])
    return BehaviourWeights(
        arrays=found,
        nonlinearity=about.nonlinearity,
        output_distribution=about.output_distribution,
        observation_clip=about.observation_clip,
        observation_epsilon=about.observation_epsilon,
        log_std_bounds=bounds,
        choices=tuple(about.choices),
    )
