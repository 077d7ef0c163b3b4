"""Files of a dataset that is a directory: found in order, and never outside of it."""

from collections.abc import Iterable
from pathlib import Path

from gipo_cli.errors import DataError

MOST_FILES = 100_000


def inside(directory: Path, file: Path) -> Path:
    """A file of a dataset, refused where a link leads it out of the dataset's directory.

    Raises:
        DataError: it lies elsewhere, is missing, or is no file.
    """
    try:
        real = file.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise DataError(f"{file} is missing, or a link that leads nowhere.") from error
    if not _is_within(real, directory.resolve()):
        raise DataError(f"{file} is a link that leaves {directory}; nothing outside a dataset is read.")
    if not real.is_file():
        raise DataError(f"{file} is not a file.")
    return file


def refuse_leading_out(path: Path, root: Path) -> None:
    """Refuse what a link leads out of a dataset, be it a file, a directory or not there: it could be anything.

    Raises:
        DataError: it is elsewhere.
    """
    try:
        if _is_within(path.resolve(), root.resolve()):
            return
    except (OSError, RuntimeError) as error:
        raise DataError(f"{path} cannot be looked up ({error}).") from error
    raise DataError(
        f"{path} is a link that leads out of {root}, which is not followed.",
        "A link can reach other files of this machine; store the data itself.",
    )


def _is_within(real: Path, home: Path) -> bool:
    """Whether a place is a dataset's own.

    A Hugging Face cache keeps files in blobs/ beside its snapshots/ and links to them; those are.
    """
    blobs = [above.parent / "blobs" for above in (home, *home.parents) if above.name == "snapshots"]
    return any(real.is_relative_to(own) for own in (home, *blobs))


def files_of(place: Path, suffixes: Iterable[str]) -> list[Path]:
    """The files that make up a dataset: the file itself, or those of a directory with such a suffix, by name.

    Raises:
        DataError: one of them lies outside of the directory, or there are absurdly many.
    """
    if not place.is_dir():
        return [place]
    wanted = tuple(suffixes)
    found = sorted(path for path in place.iterdir() if path.suffix.lower() in wanted and not path.name.startswith("."))
    if len(found) > MOST_FILES:
        raise DataError(f"{place} has {len(found):,} files; up to {MOST_FILES:,} are read as one log.")
    return [inside(place, path) for path in found]


def first_bytes(place: Path, suffixes: Iterable[str], count: int) -> bytes:
    """The first bytes of a file, or of the first file of a directory with such a suffix; none where it cannot be read.

    Never raises: it is what readers recognise a format by.
    """
    try:
        if place.is_dir():
            wanted = tuple(suffixes)
            names = [path for path in place.iterdir() if path.suffix.lower() in wanted and path.name[0] != "."]
            if not names:
                return b""
            place = inside(place, min(names))
        if not place.is_file():  # a pipe would wait for ever
            return b""
        with place.open("rb") as file:
            return file.read(count)
    except (OSError, DataError):
        return b""
