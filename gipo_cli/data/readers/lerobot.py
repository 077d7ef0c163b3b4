"""LeRobot's layout, versions 2 and 3: Parquet files of one row a frame below `data`, described by meta/info.json.

The layout has no log-probs; a float feature under one of the usual names is taken for them. Video and images are not
looked at.
"""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from gipo_cli.data.arrow_files import open_arrow
from gipo_cli.data.cache import filled
from gipo_cli.data.flat import FlatLog, to_trajectories
from gipo_cli.data.log_probs import log_prob_key, what_there_is
from gipo_cli.data.options import ReadOptions
from gipo_cli.data.places import refuse_leading_out
from gipo_cli.data.readers import Reader
from gipo_cli.data.trajectories import Trajectories
from gipo_cli.errors import DataError

INFO = Path("meta") / "info.json"
LARGEST_INFO = 16 * 2**20  # bytes
CHUNK = re.compile(r"chunk-(\d{1,9})")
FILE = re.compile(r"(?:episode_|file-)(\d{1,9})\.parquet")
STATE = "observation.state"
KNOWN = {"action", "next.reward", "next.done", "next.truncated", "next.terminated", "next.success", "episode_index"}
BOOKKEEPING = {"frame_index", "timestamp", "index", "task_index"}


class _Table:
    """All files of a data set as one table: N rows."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self._files = _files(place)
        self._rows: list[int] = []
        for path in self._files:
            with open_arrow(path) as file:
                self._rows.append(file.rows)
                if len(self._rows) == 1:
                    self.names = file.names
        self.rows = sum(self._rows)

    def is_numbers(self, name: str) -> bool:
        """Whether a column of the first file is of numbers or lists of them."""
        with open_arrow(self._files[0]) as file:
            try:
                return file.outline(name) is not None
            except DataError:
                return False

    def column(self, name: str, needed: bool = True) -> np.ndarray | None:
        """A column of all files, [N] or [N, A]; none where it is not there and not needed."""
        if name not in self.names and not needed:
            return None
        shape, dtype = self._outline(name)

        def fill(target: np.ndarray) -> None:
            self._fill(name, target)

        return filled(self.place, name, (self.rows, *shape), dtype, fill)

    def side_by_side(self, names: list[str]) -> np.ndarray:
        """Several columns as one, [N, sum of their widths]."""
        outlines = [self._outline(name) for name in names]
        edges = np.cumsum([0, *(int(np.prod(shape)) for shape, _ in outlines)])

        def fill(target: np.ndarray) -> None:
            for k, name in enumerate(names):
                self._fill(name, target[:, edges[k] : edges[k + 1]])

        dtype = np.result_type(*(dtype for _, dtype in outlines))
        return filled(self.place, "observations", (self.rows, int(edges[-1])), dtype, fill)

    def _outline(self, name: str) -> tuple[tuple[int, ...], np.dtype]:
        shapes, types = [], []
        for path, rows in zip(self._files, self._rows, strict=True):
            with open_arrow(path) as file:
                found = file.outline(name) if rows else None
                if rows and found is None:
                    raise DataError(f"{path} has no column '{name}'.", f"It holds: {', '.join(file.names)}.")
            if found is not None:
                shapes.append(found[0])
                types.append(found[1])
            if shapes[1:] and shapes[-1] != shapes[0]:
                raise DataError(f"{path}: '{name}' has shape {list(shapes[-1])} a row, before {list(shapes[0])}.")
        return shapes[0], np.result_type(*types)

    def _fill(self, name: str, target: np.ndarray) -> None:
        at = 0
        for path in self._files:
            with open_arrow(path) as file:
                for rows in file.blocks(name):
                    here = target[at : at + len(rows)]
                    if len(here) < len(rows) or rows.size != here.size:
                        raise DataError(f"{path}: '{name}' does not hold what the file says it does.")
                    here[...] = rows.reshape(here.shape)
                    at += len(rows)
        if at != len(target):
            raise DataError(f"{self.place}: '{name}' is cut short at row {at} of {len(target)}.")


def recognises(place: Path) -> bool:
    """Whether a directory has LeRobot's description in it."""
    try:
        return (place / INFO).is_file() and (place / "data").is_dir()
    except OSError:
        return False


def read(place: Path, name: str, options: ReadOptions) -> Trajectories:
    """Read a LeRobot data set.

    Observations are observation.state and after it the other observation.* vectors in sorted order. next.done is a
    true end, but where next.truncated says that a limit cut the episode; where episode_index changes unmarked, the
    episode counts as cut. No next observation is stored, so a cut episode gives up its last step.

    Raises:
        DataError: the data set is damaged or hostile, or lacks what GIPO needs.
    """
    info = _info(place)
    table = _Table(place)
    if not table.rows:
        raise DataError(f"{place} holds no steps.")
    notes: list[str] = []
    claimed = info.get("total_frames")
    if isinstance(claimed, int) and claimed != table.rows:
        notes.append(f"{INFO} claims {claimed} frames, the data holds {table.rows}.")
    observed = _observed(table, info, notes)
    key = log_prob_key(options, table.names.__contains__, ("",), place, table.names)
    if key is None:
        others = [column for column in table.names if not column.startswith("observation")]
        notes.append(what_there_is("columns", set(others) - KNOWN - BOOKKEEPING))
    episodes = table.column("episode_index")
    _require_order(table, episodes)
    flat = FlatLog(
        place=place,
        name=name,
        observations=table.side_by_side(observed),
        actions=_needed(table, "action"),
        rewards=_needed(table, "next.reward"),
        log_probs=table.column(key) if key else None,
        terminals=table.column("next.terminated", needed=False),
        timeouts=table.column("next.truncated", needed=False),
        done=table.column("next.done", needed=False),
        episodes=episodes,
        declared_convention=options.log_prob_convention or None,
        notes=notes,
        names={
            "observations": "observation", "actions": "action", "rewards": "next.reward",
            "terminals": "next.terminated", "timeouts": "next.truncated", "done": "next.done",
            "episodes": "episode_index", "log_probs": key or "",
        },
    )  # fmt: skip
    return to_trajectories(flat)


def _info(place: Path) -> dict[str, Any]:
    path = place / INFO
    refuse_leading_out(path, place)
    if path.stat().st_size > LARGEST_INFO:
        raise DataError(f"{path} has {path.stat().st_size:,} bytes; up to {LARGEST_INFO:,} are read.")
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise DataError(f"{path} is damaged; expected a JSON object.", "Copy or download the data set again.")
    return found


def _files(place: Path) -> list[Path]:
    """The Parquet files in the order of their chunks and numbers."""
    found = []
    for chunk in (place / "data").iterdir():
        number = CHUNK.fullmatch(chunk.name)
        if number is None or not chunk.is_dir():
            continue
        refuse_leading_out(chunk, place)
        for path in chunk.iterdir():
            match = FILE.fullmatch(path.name)
            if match:
                refuse_leading_out(path, place)
                found.append((int(number[1]), int(match[1]), path))
    if not found:
        raise DataError(
            f"{place} holds no data.", "Expected data/chunk-000/file-000.parquet or episode_000000.parquet."
        )
    return [path for *_, path in sorted(found)]


def _observed(table: _Table, info: dict[str, Any], notes: list[str]) -> list[str]:
    named = sorted(name for name in table.names if name == "observation" or name.startswith("observation."))
    vectors = [name for name in named if table.is_numbers(name)]
    features = info.get("features")
    seen = (
        {str(name) for name in features if str(name).startswith("observation")} if isinstance(features, dict) else set()
    )
    ignored = sorted((seen | set(named)) - set(vectors))
    if not vectors:
        raise DataError(
            f"{table.place} has no observations but {', '.join(ignored) or 'none'}; vectors are read.",
            f"Expected a float feature such as {STATE}.",
        )
    if ignored:
        notes.append(f"{', '.join(ignored)} are no vectors; they are left out.")
    if len(vectors) > 1:
        vectors.sort(key=lambda name: (name != STATE, name))
        notes.append(f"observations are {', '.join(vectors)}, laid side by side in this order.")
    return vectors


def _needed(table: _Table, name: str) -> np.ndarray:
    if name not in table.names:
        raise DataError(f"{table.place} has no column '{name}'.", f"It holds: {', '.join(sorted(table.names))}.")
    found = table.column(name)
    assert found is not None
    return found


def _require_order(table: _Table, episodes: np.ndarray | None) -> None:
    """Frames of an episode follow one another."""
    frames = table.column("frame_index", needed=False)
    if frames is None or episodes is None or frames.shape != (table.rows,) or episodes.shape != (table.rows,):
        return
    skips = (episodes[1:] == episodes[:-1]) & (frames[1:] != frames[:-1] + 1)
    if skips.any():
        row = int(skips.argmax()) + 1
        raise DataError(
            f"{table.place}: frame {frames[row]} of episode {episodes[row]} comes after frame {frames[row - 1]} "
            f"(row {row}); expected frames in order."
        )


LEROBOT = Reader(recognises=recognises, read=read)
