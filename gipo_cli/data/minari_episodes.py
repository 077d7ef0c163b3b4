"""The columns of a Minari set's episodes laid end to end: outlined first, then each read once into its place."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from gipo_cli.data.cache import filled
from gipo_cli.data.minari_storages import Outline, Storage
from gipo_cli.errors import DataError

FLAGS = ("terminations", "truncations")
PER_STEP = ("actions", "rewards", *FLAGS)  # as many rows as steps; a row more where the storage pads
DEEPEST = 4  # of Dict and Tuple observations one in another


@dataclass
class Column:
    """One column of all episodes: how many rows each has, the shape of a row, and the type that holds all of them."""

    key: str
    shape: tuple[int, ...]
    dtype: np.dtype
    meant: tuple[int, ...] | None = None  # the shape that the space names, where the storage flattens rows
    rows: list[int] = field(default_factory=list)

    @property
    def laid_out(self) -> tuple[int, ...]:
        """The shape of a row as it is meant."""
        return self.shape if self.meant is None else self.meant


@dataclass
class Episodes:
    """The episodes of a set that have steps: E of them, N steps."""

    place: Path
    directory: Path
    storage: Storage
    observed: list[Column]
    columns: dict[str, Column]  # by key
    kept: list[int]  # numbers of the episodes in the storage
    steps: np.ndarray  # [E]

    def per_step(self, key: str) -> np.ndarray:
        """A column of PER_STEP, [N, ...]; of one number a step it is [N]."""
        column = self.columns[key]
        shape = () if key != "actions" and column.shape == (1,) else column.laid_out
        return self._laid(column, shape, self.steps, key)

    def observations(self) -> tuple[np.ndarray, np.ndarray]:
        """Observations [N, *O] and the final one of each episode [E, *O]: parts of one column, which is read once."""
        total, several = int(self.steps.sum()), len(self.observed) > 1
        widths = [int(np.prod(column.laid_out, dtype=object)) for column in self.observed]
        shape = (sum(widths),) if several else self.observed[0].laid_out
        edges = np.cumsum([0, *widths])
        starts = np.cumsum([0, *self.steps])

        def fill(target: np.ndarray) -> None:
            for k, column in enumerate(self.observed):
                beside = (slice(edges[k], edges[k + 1]),) if several else ()
                for i, episode in enumerate(self.kept):
                    at, end = starts[i], starts[i + 1]
                    for rows in self._blocks(column, episode, int(self.steps[i]) + 1):
                        laid = rows.reshape(len(rows), *((-1,) if several else shape))
                        here = min(len(rows), end - at)
                        target[(slice(at, at + here), *beside)] = laid[:here]
                        if len(rows) > here:
                            target[(total + i, *beside)] = laid[here]
                        at += here

        dtype = np.result_type(*(column.dtype for column in self.observed))
        everything = filled(self.directory, "observations", (total + len(self.kept), *shape), dtype, fill)
        return everything[:total], everything[total:]

    def as_stored(self, key: str) -> np.ndarray:
        """A column of infos with all its rows, as many as steps or one more an episode; see `aligned`."""
        column = self.columns[key]
        shape = () if column.shape == (1,) else column.shape
        return self._laid(column, shape, np.asarray(column.rows, np.int64), key)

    def placeholder(self, key: str, stored: np.ndarray) -> str:
        """Where all episodes with a row more than steps have nan: "first", "last", else "unmarked"; or "none" is so."""
        starts, longer = self._rows_of(key)
        if not longer.any():
            return "none"
        if np.isnan(stored[starts[:-1][longer]]).all():
            return "first"
        return "last" if np.isnan(stored[starts[1:][longer] - 1]).all() else "unmarked"

    def aligned(self, key: str, stored: np.ndarray, resets_first: bool) -> np.ndarray:
        """A column of infos with step t's value in row t, [N, ...].

        Args:
            key: its path.
            stored: all its rows.
            resets_first: of an episode with a row more than steps, whether the first is the placeholder, or the last.
        """
        starts, longer = self._rows_of(key)
        if not longer.any():
            return stored
        begins = starts[:-1] + (longer & resets_first)
        to = np.cumsum([0, *self.steps])

        def fill(target: np.ndarray) -> None:
            for i, begin in enumerate(begins):
                target[to[i] : to[i + 1]] = stored[begin : begin + self.steps[i]]

        name = f"{key}-{'after' if resets_first else 'before'}-reset"
        return filled(self.directory, name, (int(to[-1]), *stored.shape[1:]), stored.dtype, fill)

    def _rows_of(self, key: str) -> tuple[np.ndarray, np.ndarray]:
        """Where each episode's rows of a column begin, [E + 1], and which have a row more than steps, [E]."""
        rows = np.asarray(self.columns[key].rows, np.int64)
        return np.cumsum([0, *rows]), rows > self.steps

    def _laid(self, column: Column, shape: tuple[int, ...], counts: np.ndarray, name: str) -> np.ndarray:
        """The first rows of each episode, so many as `counts` says, end to end."""

        def fill(target: np.ndarray) -> None:
            at = 0
            for episode, count in zip(self.kept, counts, strict=True):
                for rows in self._blocks(column, episode, int(count)):
                    target[at : at + len(rows)] = rows.reshape(len(rows), *shape)
                    at += len(rows)

        return filled(self.directory, name, (int(counts.sum()), *shape), column.dtype, fill)

    def _blocks(self, column: Column, episode: int, count: int) -> Iterator[np.ndarray]:
        """The first `count` rows of an episode's column, in blocks."""
        left = count
        for rows in self.storage.blocks(episode, column.key):
            if rows.shape[1:] != column.shape:
                name = self.storage.names[episode]
                raise DataError(
                    f"{self.place}: '{column.key}' of {name} has shape {list(rows.shape[1:])} a step; "
                    f"expected {list(column.shape)}."
                )
            yield rows[:left]
            left -= len(rows)
            if left <= 0:
                return
        raise DataError(
            f"{self.place}: '{column.key}' of {self.storage.names[episode]} is cut short at row {count - left}."
        )


def observed_keys(storage: Storage, space: dict[str, Any], place: Path) -> list[tuple[str, dict[str, Any]]]:
    """Paths of the arrays that observations are made of, each with its space, in the order of `spaces.flatten`.

    Raises:
        DataError: a Dict or Tuple holds other things than arrays of numbers, or is nested too deep.
    """
    found: list[tuple[str, dict[str, Any]]] = []

    def walk(key: str, space: dict[str, Any], depth: int) -> None:
        members = storage.members(0, key)
        if not members:
            if depth and space.get("type", "Box") != "Box":
                raise DataError(
                    f"{place}: '{key}' is a {space['type']} space; of Dict and Tuple observations boxes are read.",
                    "Flatten them, as gymnasium.wrappers.FlattenObservation does, and write the dataset again.",
                )
            found.append((key, space))
            return
        if depth == DEEPEST:
            raise DataError(f"{place}: its observations are nested more than {DEEPEST} deep; they are not read.")
        for name, below in _in_order(members, space):
            walk(f"{key}/{name}", below, depth + 1)

    walk("observations", space, 0)
    return found


def _in_order(members: list[str], space: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Members of a Dict in the order of the space's keys, of a Tuple in that of their places."""
    below = space.get("subspaces")
    if isinstance(below, dict) and sorted(below) == sorted(members):
        return [(name, _dict(below[name])) for name in below]
    numbers = [name.removeprefix("_index_") for name in members]
    if all(number.isdecimal() and len(number) < 6 for number in numbers):
        places = sorted(zip(map(int, numbers), members, strict=True))
        spaces = below if isinstance(below, list) else []
        return [(name, _dict(spaces[i]) if i < len(spaces) else {}) for i, name in places]
    return [(name, {}) for name in sorted(members)]


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def outlined(
    storage: Storage,
    place: Path,
    directory: Path,
    observed: list[tuple[str, tuple[int, ...] | None]],
    acted: tuple[int, ...] | None,
    infos: list[str],
    notes: list[str],
) -> Episodes:
    """Outline all episodes, reading none; those without a step are left out.

    Args:
        storage: where they are.
        place: the set, as errors name it.
        directory: of its data.
        observed: arrays that observations are made of, each with the shape that its space names.
        acted: the shape of an action that the space names.
        infos: columns of infos that are there.
        notes: what is left out is added to.

    Raises:
        DataError: an episode lacks a column, or columns do not fit together.
    """
    meant = dict(observed) | {"actions": acted}
    columns: dict[str, Column] = {}
    kept, steps = [], []
    for episode, name in enumerate(storage.names):
        found = storage.outlines(episode, [*(key for key, _ in observed), *PER_STEP, *infos])
        outlines = _present(found, storage, episode, place, infos)
        count = outlines["rewards"].rows - storage.padded
        _require_rows(outlines, [key for key, _ in observed], count, storage, name, place)
        if count <= 0:
            continue
        kept.append(episode)
        steps.append(count)
        for key, outline in outlines.items():
            column = columns.setdefault(key, Column(key, outline.shape, outline.dtype, meant.get(key)))
            _extend(column, outline, name, storage.names[kept[0]], place)
    if not kept:
        raise DataError(f"{place} holds no steps.")
    if len(kept) < len(storage.names):
        notes.append(f"{len(storage.names) - len(kept)} episodes without a step were left out.")
    for column in columns.values():
        _require_meant(column, place)
    seen = [columns[key] for key, _ in observed]
    return Episodes(place, directory, storage, seen, columns, kept, np.asarray(steps, np.int64))


def _present(
    found: dict[str, Outline | None], storage: Storage, episode: int, place: Path, infos: list[str]
) -> dict[str, Outline]:
    for key, outline in found.items():
        if outline is None:
            which = ", which the first episode has" if key in infos else ""
            raise DataError(
                f"{place}: {storage.names[episode]} has no column '{key}'{which}.",
                f"It holds: {', '.join(storage.members(episode, '')) or 'nothing'}.",
            )
    return {key: outline for key, outline in found.items() if outline is not None}


def _require_rows(
    outlines: dict[str, Outline], observed: list[str], steps: int, storage: Storage, name: str, place: Path
) -> None:
    for key, outline in outlines.items():
        if key in observed or key in PER_STEP:
            expected = steps + (key in observed or storage.padded)
            if outline.rows != expected:
                raise DataError(
                    f"{place}: '{key}' of {name} has {outline.rows} rows; its {steps} rewards ask for {expected}."
                )
        elif outline.rows not in (steps, steps + 1):
            raise DataError(f"{place}: '{key}' of {name} has {outline.rows} rows; expected {steps} or {steps + 1}.")
        if key in ("rewards", *FLAGS) and outline.shape not in ((), (1,)):
            raise DataError(f"{place}: '{key}' of {name} has shape {list(outline.shape)} a step; expected one number.")


def _extend(column: Column, outline: Outline, name: str, first: str, place: Path) -> None:
    if outline.shape != column.shape:
        raise DataError(
            f"{place}: '{column.key}' of {name} has shape {list(outline.shape)} a step, "
            f"that of {first} {list(column.shape)}."
        )
    column.rows.append(outline.rows)
    column.dtype = np.result_type(column.dtype, outline.dtype)


def _require_meant(column: Column, place: Path) -> None:
    """Rows as the space describes them, flattened or not; an action of another shape stands as it is stored."""
    if column.meant is None or column.meant == column.shape:
        return
    flat = column.shape in ((), (1,), (int(np.prod(column.meant, dtype=object)),))
    if flat and int(np.prod(column.shape)) == int(np.prod(column.meant, dtype=object)):
        return
    if column.key == "actions":
        column.meant = None
        return
    raise DataError(
        f"{place}: metadata.json says that {column.key} have shape {list(column.meant)}, the data holds "
        f"{list(column.shape)}."
    )


def flags(episodes: Episodes, notes: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Which steps terminate and which are cut, [N] each; an unfinished episode counts as cut.

    Raises:
        DataError: an episode ends and goes on after it.
    """
    terminated, truncated = (np.asarray(episodes.per_step(key)) for key in FLAGS)
    for key, column in zip(FLAGS, (terminated, truncated), strict=True):
        if column.dtype.kind == "f" and not np.isfinite(column).all():
            raise DataError(f"{episodes.place}: '{key}' holds a number that is not finite; expected 0 or 1.")
    terminated = terminated.astype(bool)
    truncated = truncated.astype(bool) & ~terminated
    last = np.cumsum(episodes.steps) - 1
    within = terminated | truncated
    within[last] = False
    if within.any():
        row = int(within.argmax())
        i = int(np.searchsorted(last, row))
        start, steps = int(last[i] - episodes.steps[i] + 1), int(episodes.steps[i])
        name = episodes.storage.names[episodes.kept[i]]
        raise DataError(f"{episodes.place}: {name} ends at step {row - start} of {steps} and goes on after it.")
    unfinished = ~(terminated[last] | truncated[last])
    truncated[last[unfinished]] = True
    if unfinished.any():
        notes.append(f"{unfinished.sum()} episodes are unfinished; they count as cut by a limit.")
    return terminated, truncated
