"""The columns of a table by name, whatever its format: NPZ, Parquet, Arrow or CSV."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gipo_cli.data import arrow, npz
from gipo_cli.data.description import LARGEST_DESCRIPTION, WEIGHTS, Description, describe, require_size
from gipo_cli.data.mapping import Names
from gipo_cli.data.places import first_bytes
from gipo_cli.errors import DataError, brief

SUFFIXES = (*arrow.PARQUET, *arrow.ARROW, *arrow.CSV)
APART = ("final_observations", "episode_starts", "action_low", "action_high")  # not one row a step


@dataclass(frozen=True)
class Source:
    """The columns of a file, whatever its format."""

    place: Path
    held: list[str]
    table: arrow.Table | None = None
    members: dict[str, npz.Member] | None = None
    description: Description | None = None
    arrays: dict[str, np.ndarray] | None = None  # what is not one row a step

    def is_text(self, name: str) -> bool:
        """Whether a column holds words."""
        if self.table is not None:
            return arrow.is_text(self.table.fields[name].type)
        return self.members is not None and self.members[name].dtype.kind in "SU"

    def numbers(self, names: Names) -> np.ndarray:
        """One column [N] or [N, A], or several beside one another [N, A]."""
        if self.table is not None:
            return arrow.numbers(self.table, names)
        listed = [names] if isinstance(names, str) else names
        for name in listed:
            if self.is_text(name):
                raise DataError(f"{self.place}: '{name}' holds text; expected numbers.")
        found = [npz.array(self.place, (self.members or {})[name]) for name in listed]
        for name, column in zip(listed, found, strict=True):
            if column.ndim == 0:
                raise DataError(f"{self.place}: '{name}' has shape []; expected one row a step.")
        if isinstance(names, str) or (len(found) == 1 and found[0].ndim > 1):
            return found[0]
        if len({column.shape[:1] for column in found}) != 1:
            raise DataError(f"{self.place}: {', '.join(listed)} have different numbers of rows; expected as many.")
        return np.concatenate([column.reshape(len(column), -1) for column in found], axis=1)

    def words(self, name: str, most: int | None = None) -> tuple[np.ndarray, list[str]]:
        """A column of words as numbers of their sorted order, and the words."""
        if self.table is not None:
            return arrow.words(self.table, name, most)
        known, codes = np.unique(npz.words(self.place, (self.members or {})[name]), return_inverse=True)
        if most is not None and len(known) > most:
            raise DataError(f"{self.place}: '{name}' has more than {most:,} different words.")
        return codes, [str(word) for word in known]


def open_source(place: Path) -> Source:
    """Open a table; columns are read when they are asked for.

    Raises:
        DataError: the file is damaged, or what gipo wrote beside the columns is.
    """
    if first_bytes(place, SUFFIXES, 2) == b"PK" or place.suffix.lower() == ".npz":
        members = npz.members(place)
        described = None
        if "gipo" in members:
            if members["gipo"].nbytes > LARGEST_DESCRIPTION:
                raise DataError(
                    f"{place}: the description 'gipo' has {members['gipo'].nbytes:,} bytes; "
                    f"up to {LARGEST_DESCRIPTION:,} are read."
                )
            text = npz.array(place, members["gipo"])
            if text.dtype.kind not in "iu":
                raise DataError(f"{place}: the description 'gipo' holds {text.dtype}; expected bytes.")
            described = describe(text.astype(np.uint8).tobytes(), f"{place}: the description 'gipo'")
        apart = [n for n in members if n in APART or (n.startswith(WEIGHTS) and described is not None)]
        require_size(place, (members[n].nbytes for n in apart if n.startswith(WEIGHTS)))
        for n in apart:
            if members[n].dtype.kind in "SU":
                raise DataError(f"{place}: '{n}' holds text; expected numbers.")
        arrays = {n: npz.array(place, members[n]) for n in apart}
        return Source(place, list(members), None, members, described, arrays)
    table = arrow.open_table(place, SUFFIXES)
    text = table.metadata.get(b"gipo")
    described = None if text is None else describe(text, f"{place}: the description 'gipo'")
    arrays = {}
    if described is not None and b"gipo_arrays" in table.metadata:
        arrays = _safetensors(place, table.metadata[b"gipo_arrays"])
    return Source(place, list(table.fields), table, None, described, arrays)


def _safetensors(place: Path, raw: bytes) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        return load(raw)
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise DataError(f"{place}: its 'gipo_arrays' are no safetensors that can be read ({brief(error)}).") from error
