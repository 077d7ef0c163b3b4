"""Where Minari keeps episodes: one group each in an HDF5 file, or one directory each of Arrow or Parquet files.

A storage names its episodes, outlines their columns without reading them, and hands out their rows in blocks. Columns
go by paths: `observations`, `observations/arm` for a member of a Dict, `infos/behaviour/log_prob`.
"""

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol, cast

import h5py
import numpy as np

from gipo_cli.data.arrow_files import SUFFIXES, ArrowFile, open_arrow
from gipo_cli.data.hdf5 import attribute, column_of, member, open_safely, type_of
from gipo_cli.data.places import refuse_leading_out
from gipo_cli.data.trajectories import BLOCK
from gipo_cli.errors import DataError, brief

DATA_FILE = "main_data.hdf5"
EPISODE = re.compile(r"episode_(\d{1,15})")
NUMBER = re.compile(r"\d{1,15}")
PART = re.compile(r"part-(\d{1,9})\.(arrow|parquet)")
MOST_MEMBERS = 256  # of infos or of a Dict observation


class Outline(NamedTuple):
    """How many rows a column of an episode has, the shape of a row, and the type of its numbers."""

    rows: int
    shape: tuple[int, ...]
    dtype: np.dtype


class Storage(Protocol):
    """Stored episodes, in the order of their numbers."""

    names: list[str]
    padded: bool  # whether actions, rewards and flags have a row more than there are steps, at the end
    declared: str | float | None  # the density of the log-probs, where the storage says

    def members(self, episode: int, key: str) -> list[str]:
        """Names below a column that is a group of columns, none where it is one column or is not there."""
        ...

    def outlines(self, episode: int, keys: list[str]) -> dict[str, Outline | None]:
        """What columns are like, none where the episode has no such column."""
        ...

    def blocks(self, episode: int, key: str) -> Iterator[np.ndarray]:
        """The rows of a column, in order; `outlines` has found it there."""
        ...


def storage_of(directory: Path) -> str:
    """The format of a Minari data directory by the files in it; empty where there are none that are known."""
    if (directory / DATA_FILE).is_file():
        return "hdf5"
    numbered = (child for child in directory.iterdir() if NUMBER.fullmatch(child.name) and child.is_dir())
    parts = (PART.fullmatch(child.name) for episode in numbered for child in episode.iterdir())
    return next((match[2] for match in parts if match), "")


def open_storage(directory: Path) -> AbstractContextManager[Storage]:
    """Open the episodes of a Minari data directory.

    Raises:
        DataError: they are damaged or hostile, or there are none.
    """
    if (directory / DATA_FILE).is_file():
        return _open_hdf5(directory)
    return _open_arrow(directory)


@contextmanager
def _open_hdf5(directory: Path) -> Iterator[Storage]:
    refuse_leading_out(directory / DATA_FILE, directory)
    with open_safely(directory / DATA_FILE) as file:
        yield _Hdf5(file)


class _Hdf5:
    padded = False

    def __init__(self, file: h5py.File) -> None:
        numbers = sorted(int(found[1]) for found in map(EPISODE.fullmatch, map(str, file)) if found)
        if not numbers:
            raise DataError(
                f"{file.filename} holds no episodes.", f"It holds: {', '.join(sorted(map(str, file))) or 'nothing'}."
            )
        self.names = [f"episode_{number}" for number in numbers]
        self.declared = attribute(file, "log_prob_convention")
        self._file = file

    def _group(self, episode: int) -> h5py.Group:
        group = member(self._file, self.names[episode])
        if not isinstance(group, h5py.Group):
            raise DataError(f"{self._file.filename}: '{self.names[episode]}' is no group; expected one an episode.")
        return group

    def members(self, episode: int, key: str) -> list[str]:
        found = member(self._group(episode), key) if key else self._group(episode)
        names = sorted(map(str, found)) if isinstance(found, h5py.Group) else []
        return _taken(names, key, f"{self._file.filename}: {self.names[episode]}")

    def outlines(self, episode: int, keys: list[str]) -> dict[str, Outline | None]:
        group = self._group(episode)
        outlines: dict[str, Outline | None] = {}
        for key in keys:
            found = column_of(group, key)
            if found is None or found.ndim == 0:
                outlines[key] = None
            else:
                outlines[key] = Outline(found.shape[0], found.shape[1:], _native(found))
        return outlines

    def blocks(self, episode: int, key: str) -> Iterator[np.ndarray]:
        # `outlines` has checked what is there, in this open file: links, storage, type and size.
        found = cast(h5py.Dataset, self._file[f"{self.names[episode]}/{key}"])
        for start in range(0, found.shape[0], BLOCK):
            try:
                yield found[start : start + BLOCK]
            except OSError as error:
                where = f"{self._file.filename}: '{key}' of {self.names[episode]}"
                raise DataError(f"{where} is damaged ({brief(error)}).", "Copy or download the file again.") from error


def _taken(names: list[str], key: str, where: str) -> list[str]:
    """Names of members, of which none must be missed; those of the whole episode are for a sentence."""
    if key and len(names) > MOST_MEMBERS:
        raise DataError(f"{where} has {len(names):,} members in '{key}'; up to {MOST_MEMBERS} are read.")
    return names[:MOST_MEMBERS]


def _native(found: h5py.Dataset) -> np.dtype:
    return cast(np.dtype, type_of(found)).newbyteorder("=")


@contextmanager
def _open_arrow(directory: Path) -> Iterator[Storage]:
    yield _Arrow(directory)


class _Arrow:
    padded = True
    declared: str | float | None = None

    def __init__(self, directory: Path) -> None:
        self._root = directory
        self._directories = {int(child.name): child for child in directory.iterdir() if NUMBER.fullmatch(child.name)}
        self._numbers = sorted(self._directories)
        self.names = [f"episode {number}" for number in self._numbers]
        self._found: dict[int, list[Path]] = {}

    def _parts(self, episode: int) -> list[Path]:
        if episode not in self._found:
            self._found[episode] = self._listed(episode)
        return self._found[episode]

    def _listed(self, episode: int) -> list[Path]:
        """The files of an episode in order, none of which leads elsewhere."""
        directory = self._directories[self._numbers[episode]]
        refuse_leading_out(directory, self._root)
        matches = [PART.fullmatch(child.name) for child in directory.iterdir()] if directory.is_dir() else []
        found = sorted((int(match[1]), match[0]) for match in matches if match)
        if not found:
            raise DataError(f"{directory} holds no episode.", f"Expected part-0{' or part-0'.join(SUFFIXES)}.")
        parts = [directory / name for _, name in found]
        for part in parts:
            refuse_leading_out(part, self._root)
        return parts

    @contextmanager
    def _first(self, episode: int) -> Iterator[ArrowFile]:
        with open_arrow(self._parts(episode)[0]) as file:
            yield file

    def members(self, episode: int, key: str) -> list[str]:
        with self._first(episode) as file:
            names = file.fields(key) if key else file.names
        return _taken(names, key, f"{self._root}: {self.names[episode]}")

    def outlines(self, episode: int, keys: list[str]) -> dict[str, Outline | None]:
        rows, found = 0, {}
        for part in self._parts(episode):
            with open_arrow(part) as file:
                found = {key: file.outline(key) for key in keys}
                rows += file.rows
        return {key: None if outline is None else Outline(rows, *outline) for key, outline in found.items()}

    def blocks(self, episode: int, key: str) -> Iterator[np.ndarray]:
        for part in self._parts(episode):
            with open_arrow(part) as file:
                yield from file.blocks(key)
