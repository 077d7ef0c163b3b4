"""The importance weights of a run, and what they say of it: a block of rows at a time, however many there are."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from gipo_cli.checkpoint_files import checkpoints_in, step_of
from gipo_cli.data.cache import scratch
from gipo_cli.data.resident import Lent, blocks
from gipo_cli.diagnostics.bound import bound
from gipo_cli.diagnostics.columns import Rows
from gipo_cli.diagnostics.inspection import Weights, inspect
from gipo_cli.errors import GipoError, RunError
from gipo_cli.objectives.effective_weight import mean_effective_weight
from gipo_cli.objectives.settings import resolve
from gipo_cli.objectives.traits import has_trait
from gipo_cli.registry import OBJECTIVES
from gipo_cli.rendering import terminal
from gipo_cli.reports.log_ratios import HOME, PARTS, STEP, VERSION, read_log_ratios
from gipo_cli.runs import RunDirectory


@dataclass(frozen=True)
class Inspected:
    """A run's weights, the objective that gave them, and what `gipo inspect-weights --json` prints of them."""

    weights: Weights
    objective: str
    settings: dict[str, float]
    document: dict[str, Any]


def inspect_run(place: RunDirectory) -> Inspected:
    """Read and judge the weights of a run.

    Raises:
        RunError: it has none yet, or they are damaged.
        DataError: they are large, and the cache has no room for them.
    """
    name, settings = _objective_of(place)
    columns = read_log_ratios(place)
    _warn_of_age(place, columns.get(STEP))
    everyone = _weigh(columns, name, settings)
    weights = _at_home(everyone, columns.get(HOME))
    document = {
        "run": str(place.path),
        **inspect(weights, _bound(name, settings), _origin(place), everyone, _stale_rows(place)),
    }
    return Inspected(weights, name, settings, document)


def _warn_of_age(place: RunDirectory, step: np.ndarray | None) -> None:
    """Say that training went on after the weights were written, as where it was killed."""
    newest = max(map(step_of, checkpoints_in(place.path)), default=0)
    if step is not None and int(step) < newest:
        terminal.note(
            f"warning: these are the weights after {int(step):,} updates, and there is a checkpoint of {newest:,}; "
            f"they are written again by: gipo train --resume {place.path}"
        )


def _origin(place: RunDirectory) -> str:
    """Where the log-probs of the run's log come from, as run.json has it."""
    dataset = place.record().get("dataset", {})
    origin = dataset.get("log_probs") if isinstance(dataset, dict) else None
    return origin if isinstance(origin, str) else "recorded"


def _stale_rows(place: RunDirectory) -> bool:
    """Whether the run trained on the rows of all versions."""
    return place.read_config().get("stale_rows") is True


def _objective_of(place: RunDirectory) -> tuple[str, dict[str, float]]:
    """The run's objective and its settings; those that training steered are in run.json as it left them."""
    config = place.read_config()
    name, given = config.get("objective"), place.record().get("settings", config.get("settings", {}))
    if not isinstance(name, str) or not isinstance(given, dict):
        raise RunError(f"{place.path / 'config.toml'} names no objective.", "The run directory is damaged.")
    try:
        return name, resolve(name, OBJECTIVES.load(name), given)
    except GipoError as error:  # the user's flags are not at fault here, the file is
        raise RunError(f"{place.path / 'config.toml'}: {error.message}", error.hint) from error


def _weigh(columns: dict[str, np.ndarray], name: str, settings: dict[str, float]) -> Weights:
    """The weights of all rows."""
    torch.set_num_threads(1)
    objective, advantage = OBJECTIVES.load(name), columns["advantage"]
    # With a ratio for each dimension a sample has that many weights; what it teaches is their mean.
    ratios = columns.get(PARTS, columns["log_ratio"][:, None])
    weight = scratch((len(ratios),), np.dtype(np.float64))
    # Where one sample's weight depends on all others, none can be left for later.
    for start, block in [(0, ratios)] if has_trait(objective, "of_batch") else blocks(ratios):
        rows = slice(start, start + len(block))
        found = mean_effective_weight(objective, _double(block), _double(advantage[rows]), **settings)
        if not torch.isfinite(found).all():
            raise RunError(f"the objective '{name}' gives some samples of the run a weight beyond float64.")
        weight[rows] = found.numpy()
    of_row = {key: Lent(columns[key]) for key in ("log_ratio", "advantage", "episode", "held_out")}
    parts, version = (Lent(columns[key]) if key in columns else None for key in (PARTS, VERSION))
    return Weights(**of_row, trust_weighted=Lent(weight), parts=parts, version=version)


def _double(column: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(column.astype(np.float64))


def _at_home(everyone: Weights, home: np.ndarray | None) -> Weights:
    """The rows that the policy is judged on: ratios to policies that it never started from say nothing of it."""
    if home is None:
        return everyone
    count = Rows(Lent(home)).count
    if count == len(home):
        return everyone
    terminal.note(f"{count:,} of {len(home):,} steps are of the version that training started from: only these.")
    return everyone.at(Lent(home))


def _bound(name: str, settings: dict[str, Any]) -> float | None:
    return bound(settings["sigma"] * max(1.0, settings.get("sigma_negative_ratio", 1.0))) if name == "gipo" else None
