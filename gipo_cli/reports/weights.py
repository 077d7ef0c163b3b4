"""The importance weights of a run, read from log_ratios.npz: nothing in the file is run, and all of it is checked."""

import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gipo_cli.diagnostics.bound import bound
from gipo_cli.diagnostics.inspection import Weights, inspect
from gipo_cli.errors import GipoError, RunError
from gipo_cli.objectives.effective_weight import mean_effective_weight
from gipo_cli.objectives.settings import resolve
from gipo_cli.registry import OBJECTIVES
from gipo_cli.rendering import terminal
from gipo_cli.runs import LOG_RATIOS, RunDirectory

COLUMNS = {"log_ratio": "f", "advantage": "f", "episode": "iu", "held_out": "b"}  # name -> kinds of numpy dtype
PARTS = "log_ratio_parts"  # [N, A], there where the ratios are per dimension
VERSION = "version"  # of the behaviour policy that acted, where several did
HOME = "home"  # rows of the policy that training started from, where several acted; of older runs: all
LARGEST = 2**33  # bytes; 300 million steps, and an archive that claims more is not one of ours


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
    """
    name, settings = _objective_of(place)
    everyone, home = _weigh(_read(place), name, settings)
    weights = _at_home(everyone, home)
    document = {
        "run": str(place.path),
        **inspect(weights, _bound(name, settings), _origin(place), everyone, _stale_rows(place)),
    }
    return Inspected(weights, name, settings, document)


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


def _read(place: RunDirectory) -> dict[str, np.ndarray]:
    """The columns of log_ratios.npz, checked; nothing in the file is run."""
    path = place.path / LOG_RATIOS
    resume = f"gipo train --resume {place.path}"
    if not path.exists():
        hint = f"Training has not reached its first checkpoint yet; wait for it, or: {resume}"
        raise RunError(f"{place.path} has no {LOG_RATIOS}.", hint)
    again = f"Delete it and write it again with: {resume}"
    columns = _load(path, again)
    size = columns["log_ratio"].size
    for name, kinds in COLUMNS.items():
        column = columns[name]
        if column.dtype.kind not in kinds:
            raise RunError(f"{name} in {path} holds {column.dtype} values, which are of the wrong kind.", again)
        if column.shape != (size,):
            raise RunError(f"{name} in {path} has the shape {list(column.shape)}; expected [{size}].", again)
    if size == 0:
        raise RunError(f"{path} holds no transitions.", again)
    home = columns.get(HOME)
    if home is not None and not (home.dtype.kind == "b" and home.shape == (size,) and home.any()):
        raise RunError(f"{HOME} in {path} does not say of each of the {size} rows whether it is one.", again)
    version = columns.get(VERSION)
    if version is not None and not (version.dtype.kind in "iu" and version.shape == (size,)):
        raise RunError(f"{VERSION} in {path} does not number the policy of each of the {size} rows.", again)
    _refuse_non_finite(columns, path, again)
    parts = columns.get(PARTS)
    if parts is not None and not (parts.dtype.kind == "f" and parts.ndim == 2 and len(parts) == size):
        raise RunError(f"{PARTS} in {path} has the shape {list(parts.shape)}; expected [{size}, dimensions].", again)
    return columns


def _load(path: Path, again: str) -> dict[str, np.ndarray]:
    try:
        with zipfile.ZipFile(path) as archive:
            claimed = sum(member.file_size for member in archive.infolist())
        if claimed > LARGEST:
            raise RunError(f"{path} claims {claimed:,} bytes, more than any run writes.", again)
        with np.load(path, allow_pickle=False) as archive:
            missing = [name for name in COLUMNS if name not in archive.files]
            if missing:
                raise RunError(f"{path} has no array '{missing[0]}'.", again)
            return {
                name: np.asarray(archive[name]) for name in (*COLUMNS, PARTS, VERSION, HOME) if name in archive.files
            }
    except (OSError, ValueError, EOFError, KeyError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        # numpy's own messages advise to switch pickles on; that is the last thing to do.
        why = "it holds pickled objects, which are never read" if "pickle" in str(error).lower() else "it is damaged"
        raise RunError(f"{path} cannot be read: {why}.", again) from error


def _at_home(everyone: Weights, home: np.ndarray | None) -> Weights:
    """The rows that the policy is judged on: ratios to policies that it never started from say nothing of it."""
    if home is None or home.all():
        return everyone
    terminal.note(f"{home.sum():,} of {home.size:,} steps are of the version that training started from: only these.")
    return everyone.at(home)


def _refuse_non_finite(columns: dict[str, np.ndarray], path: Path, again: str) -> None:
    for name in ("log_ratio", "advantage", *([PARTS] if PARTS in columns else [])):
        bad = np.flatnonzero((~np.isfinite(columns[name])).reshape(len(columns[name]), -1).any(-1))
        if bad.size:
            value = columns[name][bad[0]]
            raise RunError(f"{name} in {path} is {value} at row {bad[0]} ({bad.size} such rows).", again)


def _weigh(columns: dict[str, np.ndarray], name: str, settings: dict[str, float]) -> tuple[Weights, np.ndarray | None]:
    """The weights of all rows, and which rows are home; none where all are."""
    torch.set_num_threads(1)
    log_ratio, advantage = (columns[key].astype(np.float64) for key in ("log_ratio", "advantage"))
    # With a ratio for each dimension a sample has that many weights; what it teaches is their mean.
    ratios = columns.get(PARTS, log_ratio[:, None]).astype(np.float64, copy=False)
    weight = mean_effective_weight(
        OBJECTIVES.load(name), torch.from_numpy(ratios), torch.from_numpy(advantage), **settings
    )
    if not torch.isfinite(weight).all():
        raise RunError(f"the objective '{name}' gives some samples of the run a weight beyond float64.")
    version = columns.get(VERSION)
    weights = Weights(
        log_ratio, advantage, columns["episode"].astype(np.int64, copy=False), columns["held_out"], weight.numpy(),
        ratios if PARTS in columns else None, None if version is None else version.astype(np.int64, copy=False),
    )  # fmt: skip
    return weights, columns.get(HOME)


def _bound(name: str, settings: dict[str, Any]) -> float | None:
    return bound(settings["sigma"] * max(1.0, settings.get("sigma_negative_ratio", 1.0))) if name == "gipo" else None
