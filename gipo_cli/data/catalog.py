"""What `--dataset` means: a name in the catalog, a path, minari:ID, or d4rl:NAME of a log that was fetched."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gipo_cli.errors import DataError, unknown_name
from gipo_cli.registry import READERS

if TYPE_CHECKING:
    from gipo_cli.data.options import ReadOptions
    from gipo_cli.data.trajectories import Trajectories

PACKAGE = Path(__file__).parent.parent
# A checkout has the logs beside the package, a wheel inside it.
PLACES = (
    PACKAGE.parent / "datasets",
    PACKAGE / "bundled",
)


@dataclass(frozen=True)
class Entry:
    """A bundled log."""

    name: str
    file: str
    environment: str
    about: str


ENTRIES = {
    entry.name: entry
    for entry in (
        Entry(
            "hopper-medium",
            "hopper-medium.hdf5",
            "Hopper-v5",
            "200k steps of a SAC policy after 130k steps of training",
        ),
    )
}


def locate(dataset: str) -> tuple[Path, str]:
    """The place of a dataset and the name it goes by.

    Raises:
        SettingError: neither a name of the catalog nor a path that exists.
        DataError: a path that is missing, or a bundled file that is.
    """
    if dataset in ENTRIES:
        return _bundled(ENTRIES[dataset]), dataset
    if dataset.startswith("minari:"):
        from gipo_cli.data.readers.minari import place_of

        identifier = dataset.removeprefix("minari:")
        return place_of(identifier), identifier.replace("/", "-")
    if dataset.startswith("d4rl:"):
        from gipo_cli.data.remotes import fetched  # refuses one that is not there, and says how to fetch it

        return fetched(dataset), dataset.removeprefix("d4rl:")
    try:
        path = Path(dataset).expanduser()
        exists = path.exists()
    except (OSError, RuntimeError) as error:
        # A name too long for a file, or ~somebody who has no home here.
        raise DataError(f"{dataset} is not a path that can be looked up ({error}).") from error
    if exists and dataset:
        return path, path.stem or path.name
    if "/" in dataset or path.suffix:
        raise DataError(f"there is no file {dataset}.", "`gipo datasets list` shows what is bundled.")
    raise unknown_name("dataset", dataset, ENTRIES)


def _bundled(entry: Entry) -> Path:
    for place in PLACES:
        if (place / entry.file).is_file():
            return place / entry.file
    raise DataError(f"the bundled log {entry.file} is missing from this installation.", "Install gipo again.")


def load(dataset: str, options: "ReadOptions | None" = None) -> "Trajectories":
    """Read a dataset, whatever its format, as it stands: neither checked nor mended.

    Raises:
        SettingError, DataError: as `locate`; or the file is of no known format, damaged or refused.
    """
    from gipo_cli.data.options import ReadOptions

    place, name = locate(dataset)
    options = options or ReadOptions()
    if options.mapping:  # whoever says which column is which means a table, whatever else it looks like
        return READERS.load("table").read(place, name, options)
    for format_name in READERS.places:
        reader = READERS.load(format_name)
        if reader.recognises(place):
            return reader.read(place, name, options)
    what = "is a directory with no log in it" if place.is_dir() else "is of no format that is known"
    if place.suffix in (".hdf5", ".h5"):
        what = "is not an HDF5 file"  # by its first bytes, whatever its name
    raise DataError(
        f"{place} {what}.",
        f"Formats that can be read: {', '.join(READERS.places)}.\n"
        "For a table of one row a step: --mapping FILE.toml says which column is which.",
    )
