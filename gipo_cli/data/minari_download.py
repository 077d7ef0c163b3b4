"""Fetch a dataset that Minari hosts: its own download, into a place aside, and nothing of it is loaded."""

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from gipo_cli.data.writers.minari import IDENTIFIER, datasets_root
from gipo_cli.errors import DataError, SettingError

STAGE = ".gipo-fetch"  # hidden below Minari's root, so that neither Minari nor gipo takes it for datasets
NAMESPACE_FILE = "namespace_metadata.json"


def download(identifier: str) -> Path:
    """Download a dataset and those it is combined of, to where Minari keeps them; returns its place.

    `minari.download_dataset` copies files and reads JSON. Opening a dataset as a `MinariDataset` could import what
    its metadata names, so that is not done, here or by gipo's reader.

    Raises:
        SettingError: it is no name of Minari's kind, or the library that downloads is not installed.
        DataError: it cannot be downloaded.
    """
    if not IDENTIFIER.fullmatch(identifier):
        raise SettingError(
            f"{identifier!r} is not the name of a Minari dataset.", "Expected one such as mujoco/hopper/medium-v0."
        )
    root = datasets_root()
    if (root / identifier / "data").is_dir():
        return root / identifier
    stage = root / STAGE
    import minari

    try:
        with _datasets_below(stage), contextlib.redirect_stdout(sys.stderr):
            # Without force_download it takes a directory that broke off for a whole one; files that are whole stay.
            minari.download_dataset(identifier, force_download=True)
        stage.mkdir(parents=True, exist_ok=True)
        _move(stage, root)
        shutil.rmtree(stage)
    except ImportError as error:
        raise SettingError(
            f"Minari's remotes need a library that is not here ({error}).", 'pip install "minari[hf]"'
        ) from error
    except Exception as error:
        # Minari's remotes raise what their own HTTP libraries raise: no common class, and none of them is our bug.
        raise DataError(
            f"minari cannot download {identifier} ({type(error).__name__}: {error}).",
            f"With no network here: `minari download {identifier}` elsewhere, and copy its directory to "
            f"{root / identifier}.",
        ) from error
    if not (root / identifier / "data").is_dir():
        raise DataError(
            f"minari's download of {identifier} brought no data.", "`minari list remote` shows what is there."
        )
    return root / identifier


@contextlib.contextmanager
def _datasets_below(root: Path) -> Iterator[None]:
    """Minari's root for a while; it is read from the environment each time."""
    before = os.environ.get("MINARI_DATASETS_PATH")
    os.environ["MINARI_DATASETS_PATH"] = str(root)
    try:
        yield
    finally:
        if before is None:
            del os.environ["MINARI_DATASETS_PATH"]
        else:
            os.environ["MINARI_DATASETS_PATH"] = before


def _move(stage: Path, root: Path) -> None:
    """Give every dataset and namespace below the stage its place, unless that is taken."""
    for directory, below, files in os.walk(stage):
        here, place = Path(directory), root / Path(directory).relative_to(stage)
        if "data" in below:
            below.clear()
            if not place.exists():
                place.parent.mkdir(parents=True, exist_ok=True)
                os.rename(here, place)
        elif NAMESPACE_FILE in files and not (place / NAMESPACE_FILE).exists():
            place.mkdir(parents=True, exist_ok=True)
            os.rename(here / NAMESPACE_FILE, place / NAMESPACE_FILE)
