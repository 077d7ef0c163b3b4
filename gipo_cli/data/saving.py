"""Write a log where and as a person asked, and believe it only once it has been read back."""

import os
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from gipo_cli import __version__
from gipo_cli.data.trajectories import Trajectories
from gipo_cli.data.writers import Origin, refuse_existing
from gipo_cli.errors import DataError, SettingError
from gipo_cli.interrupts import deferred
from gipo_cli.registry import WRITERS

FORMATS = {".hdf5": "d4rl", ".h5": "d4rl", ".npz": "npz", ".parquet": "parquet", "": "minari"}
# What a file says of its own layout: it is said anew by whoever writes the next one.
LAYOUT = {"env_id", "output_distribution", "action_choices", "log_probs_origin", "repairs"}


class Destination:
    """A place that is free, and the format to write there."""

    def __init__(self, out: str, format_name: str = "") -> None:
        """Tell the format from the name of the place, unless it is given.

        Args:
            out: a path, or minari:ID for a dataset below Minari's root.
            format_name: of a writer; "" takes .hdf5 and .h5 for d4rl, .npz, .parquet, no suffix for minari.

        Raises:
            SettingError: no such format, a suffix that names none, or a place that is taken or cannot be made.
        """
        self._made: list[Path] = []  # directories above the place, outermost first
        self.to_minari = out.startswith("minari:")
        if self.to_minari:
            if format_name not in ("", "minari"):
                raise SettingError(f"{out} names a Minari dataset; it cannot be written as {format_name}.")
            self.path, self.format = _minari_place(out.removeprefix("minari:")), "minari"
        else:
            self.path = Path(out)
            meant = FORMATS.get(self.path.suffix.lower(), "")
            self.format = format_name or meant
            if self.path.suffix and meant and self.format != meant:
                raise SettingError(
                    f"{out} is the name of a {meant} file; it cannot be written as {self.format}.",
                    "Choose another suffix, or leave --format out.",
                )
        if not self.format:
            known = ", ".join(f"{suffix} ({name})" for suffix, name in FORMATS.items() if suffix)
            raise SettingError(
                f"{out}: '{self.path.suffix}' names no format that can be written.",
                f"Known: {known}; a directory or minari:ID (minari). Or say which: --format NAME.",
            )
        self.write = WRITERS.load(self.format)
        if self.to_minari and not os.path.lexists(self.path):
            return  # namespaces are made when there is something to put there
        refuse_existing(self.path)

    def save(self, log: Trajectories, origin: Origin) -> None:
        """Write a log, read it back, and compare: what is not the same log is taken away again.

        Raises:
            SettingError: it cannot be written.
            RuntimeError: what was written does not read as the same log, which is a bug of ours.
        """
        if self.to_minari:
            self._made = _make_parents(self.path.parent)
        written = False
        try:
            with deferred():
                self.write(log, self.path, {"gipo": __version__, **origin})
                written = True
            self._verify(log)
        except BaseException:  # an interrupt too: what was not read back is not kept
            if written:
                self.remove()
            self._remove_made()
            raise

    def _verify(self, log: Trajectories) -> None:
        from gipo_cli.data.catalog import load

        try:
            # Absolute, for a directory may have the name of a log in the catalog.
            found = load(str(self.path.absolute())).fingerprint
        except DataError as error:
            found = error.message
        if found != log.fingerprint:
            raise RuntimeError(
                f"{log.name} ({log.fingerprint}) written as {self.format} reads as another log ({found}); "
                "nothing was kept. Please report this."
            )

    def remove(self) -> None:
        """Take away what `save` made."""
        if self.path.is_dir():
            shutil.rmtree(self.path)
        else:
            self.path.unlink(missing_ok=True)
        self._remove_made()

    def _remove_made(self) -> None:
        for directory in reversed(self._made):
            with suppress(OSError):  # somebody else has put something there
                directory.rmdir()

    @property
    def bytes(self) -> int:
        """Size of what stands there."""
        files = self.path.rglob("*") if self.path.is_dir() else [self.path]
        return sum(file.stat().st_size for file in files if file.is_file())


def _minari_place(identifier: str) -> Path:
    from gipo_cli.data.writers.minari import IDENTIFIER, datasets_root

    if not IDENTIFIER.fullmatch(identifier):
        raise SettingError(
            f"{identifier!r} is no name that Minari takes.", "Expected one such as mujoco/hopper/medium-v0."
        )
    return datasets_root() / identifier


def _make_parents(directory: Path) -> list[Path]:
    """Make a directory and those above it; returns the ones that were made, outermost first."""
    missing = [place for place in [directory, *directory.parents] if not place.exists()][::-1]
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingError(f"{directory} cannot be made ({error.strerror or error}).") from error
    return missing


def history_of(sources: Iterable[str]) -> dict[str, str | float]:
    """What the files that a log comes from say of their making; only their names where there are several."""
    from gipo_cli.data.hdf5 import attribute, is_hdf5, open_safely

    places = [Path(source) for source in sources]
    told: dict[str, str | float] = {"source": ", ".join(place.name for place in places)}
    if len(places) == 1 and is_hdf5(places[0]):
        with open_safely(places[0]) as file:
            found = {name: attribute(file, name) for name in sorted(file.attrs) if name not in LAYOUT}
        told = {name: value for name, value in found.items() if value is not None} | told
    return told
