"""What `--dataset` means: a name in the catalog, a path, minari:ID, or d4rl:NAME of a log that was fetched."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gipo_cli.errors import DataError, unknown_name
from gipo_cli.registry import READERS

if TYPE_CHECKING:
    from gipo_cli.data.options import ReadOptions
    from gipo_cli.data.trajectories import Trajectories

PACKAGE = Path(__file__).parent.parent
# A checkout has logs and policies beside the package, a wheel inside it.
PLACES = (
    PACKAGE.parent / "datasets",
    PACKAGE / "bundled",
)


@dataclass(frozen=True)
class Recipe:
    """How a log is recorded: by these policies, one after the other, an equal share of the steps each."""

    policies: tuple[str, ...]  # files below datasets/policies, or the word random
    steps: int = 200_000
    environments: int = 16
    seed: int = 0


@dataclass(frozen=True)
class Entry:
    """A log that has a name: bundled, or recorded on first use."""

    name: str
    environment: str
    about: str
    recipe: Recipe
    fingerprint: str  # of the log as its card describes it
    bundled: bool = False

    @property
    def file(self) -> str:
        """Its name on the disk; in the cache it changes with the recipe."""
        if self.bundled:
            return f"{self.name}.hdf5"
        words = repr((self.environment, self.recipe))
        return f"{self.name}-{hashlib.sha256(words.encode()).hexdigest()[:8]}.hdf5"


def _ladder(pattern: str, steps: range) -> tuple[str, ...]:
    return tuple(pattern.format(thousand) for thousand in steps)


HOPPER = _ladder("hopper-sac-{:03}k.safetensors", range(10, 131, 10))
WALKER = _ladder("walker2d-ppo/walker2d-ppo-{:04}k.safetensors", range(50, 251, 50))
CHEETAH = _ladder("halfcheetah-ppo/halfcheetah-ppo-{:04}k.safetensors", range(50, 751, 50))
CARTPOLE = ("cartpole-ppo/cartpole-ppo-medium.safetensors",)
RANDOM = ("random",)

# Every episode of HalfCheetah has 1,000 steps, so its numbers of environments are such that few are recorded in excess.
ENTRIES = {
    entry.name: entry
    for entry in (
        Entry(
            "hopper-medium",
            "Hopper-v5",
            "200k steps of a SAC policy after 130k steps of training",
            Recipe(HOPPER[-1:]),
            "sha256:96125cc74b6416313c05bf9f8673c9b1eee1cbacdd342d37c22ebc07daa1014b",
            bundled=True,
        ),
        Entry(
            "hopper-medium-replay",
            "Hopper-v5",
            "220k steps of 13 SAC policies, after 10k to 130k steps of training",
            Recipe(HOPPER),
            "sha256:dd57f3ac930cca36dd53222c6301177d46afe5b63dbda844e553236af06ba563",
            bundled=True,
        ),
        Entry(
            "hopper-random",
            "Hopper-v5",
            "200k steps of uniform actions",
            Recipe(RANDOM),
            "sha256:bdec6173728ff8b34e73c1a0c12be182920c98452c18ae27c9517b747656b99e",
        ),
        Entry(
            "walker2d-medium",
            "Walker2d-v5",
            "200k steps of a PPO policy after 250k steps of training",
            Recipe(WALKER[-1:]),
            "sha256:8bff8b475dd0ceb856d28f482d0c577a34c17acfcd7db4c4abe8ad92164940bd",
        ),
        Entry(
            "walker2d-medium-replay",
            "Walker2d-v5",
            "210k steps of 5 PPO policies, after 50k to 250k steps of training",
            Recipe(WALKER),
            "sha256:618adef6019086e2a5083f7e4f2cc39a49064095de6f62715fa5f4ac45324359",
        ),
        Entry(
            "walker2d-random",
            "Walker2d-v5",
            "200k steps of uniform actions",
            Recipe(RANDOM),
            "sha256:ec554c7b44e0195f6d6969a6bfbc6e4066532c3b57e7126c5ad907eb69cd3532",
        ),
        Entry(
            "halfcheetah-medium",
            "HalfCheetah-v5",
            "200k steps of a PPO policy after 750k steps of training",
            Recipe(CHEETAH[-1:], environments=20),
            "sha256:2ec0bfa5e799859d9af5e74947a57d6354cef2a6959d3badb08efdcafbcaa39f",
        ),
        Entry(
            "halfcheetah-medium-replay",
            "HalfCheetah-v5",
            "210k steps of 15 PPO policies, after 50k to 750k steps of training",
            Recipe(CHEETAH, environments=14),
            "sha256:23b2f7b0f6859ea43f0b9716291ee96db20f1195aa78cb867cbdfefd87b0e911",
        ),
        Entry(
            "halfcheetah-random",
            "HalfCheetah-v5",
            "200k steps of uniform actions",
            Recipe(RANDOM, environments=20),
            "sha256:9dac94a69a826bb66d1467534e0c0a8e18beeaa683401ea4cbaf426c06621f79",
        ),
        Entry(
            "cartpole-medium",
            "CartPole-v1",
            "50k steps of a PPO policy that earns a third of the most it can",
            Recipe(CARTPOLE, steps=50_000),
            "sha256:ac2a3b881e87c1791df961acdfc2ee967ac1363473e899db52f2d860436ca0b7",
        ),
    )
}


def locate(dataset: str, quiet: bool = False) -> tuple[Path, str]:
    """The place of a dataset and the name it goes by; a log of the catalog that is not there yet is recorded.

    Args:
        dataset: a name, a path, or minari:ID.
        quiet: show no progress while a log is recorded.

    Raises:
        SettingError: neither a name of the catalog nor a path that exists; or a log that has to be recorded in an
            environment which is not installed.
        DataError: a path that is missing, or a bundled file that is.
    """
    if dataset in ENTRIES:
        entry = ENTRIES[dataset]
        place = place_of(entry)
        if place is None:
            from gipo_cli.data.first_use import record_entry

            place = record_entry(entry, quiet)
        return place, dataset
    if dataset.startswith("minari:"):
        from gipo_cli.data.readers.minari import place_of as place_of_minari

        identifier = dataset.removeprefix("minari:")
        return place_of_minari(identifier), identifier.replace("/", "-")
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
        if not path.is_file() and not path.is_dir():
            raise DataError(f"{path} is a pipe or a device; expected a file.", "Save what comes out of it to a file.")
        return path, path.stem or path.name
    if "/" in dataset or path.suffix:
        raise DataError(f"there is no file {dataset}.", "`gipo datasets list` shows what is bundled.")
    raise unknown_name("dataset", dataset, ENTRIES)


def place_of(entry: Entry) -> Path | None:
    """The file of an entry; none where it has yet to be recorded.

    Raises:
        DataError: it is bundled, and missing.
    """
    if not entry.bundled:
        from gipo_cli.data.cache import cache_root

        place = cache_root() / "logs" / entry.file
        return place if place.is_file() else None
    return _shipped(entry.file, f"the bundled log {entry.file}")


def policy_file(name: str) -> Path:
    """A behaviour policy that is shipped.

    Raises:
        DataError: it is missing.
    """
    return _shipped(f"policies/{name}", f"the policy {name}")


def _shipped(file: str, what: str) -> Path:
    for place in PLACES:
        if (place / file).is_file():
            return place / file
    raise DataError(f"{what} is missing from this installation.", "Install gipo again.")


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
    if place.is_dir():
        from gipo_cli.data.places import inside

        for below in sorted(place.iterdir()):
            if below.is_symlink() and not below.is_dir():
                inside(place, below)  # no reader has looked behind one that leads out: that may be why
    if place.suffix in (".hdf5", ".h5"):
        what = "is not an HDF5 file"  # by its first bytes, whatever its name
    raise DataError(
        f"{place} {what}.",
        f"Formats that can be read: {', '.join(READERS.places)}.\n"
        "For a table of one row a step: --mapping FILE.toml says which column is which.",
    )
