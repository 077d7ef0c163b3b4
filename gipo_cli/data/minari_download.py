"""Fetch a dataset that Minari hosts: its own download, into a place aside, and nothing of it is loaded."""

import contextlib
import fcntl
import hashlib
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
    import minari

    try:
        with _own_stage(root, identifier) as stage:
            with _datasets_below(stage), contextlib.redirect_stdout(sys.stderr):
                # Without force_download it takes a directory that broke off for a whole one; files that are whole stay.
                minari.download_dataset(identifier, force_download=True)
            _move(stage, root)
            shutil.rmtree(stage)
    except DataError:
        raise
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
def _own_stage(root: Path, identifier: str) -> Iterator[Path]:
    """A place aside for one dataset alone: what broke off of another is never published with it.

    Raises:
        DataError: another process is fetching the same.
    """
    stage = root / STAGE / hashlib.sha256(identifier.encode()).hexdigest()[:16]
    stage.mkdir(parents=True, exist_ok=True)
    handle = os.open(stage, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DataError(f"another process is fetching {identifier}.", "Wait until it is done.") from error
        _forget_parts(stage, identifier)
        yield stage
    finally:
        os.close(handle)
        with contextlib.suppress(OSError):  # another dataset's is there
            (root / STAGE).rmdir()


def _forget_parts(stage: Path, identifier: str) -> None:
    """Take away datasets that this one is made of: half of one that broke off would be taken for whole."""
    for directory, below, _ in os.walk(stage):
        for name in tuple(below):
            here = Path(directory) / name
            if IDENTIFIER.fullmatch(here.relative_to(stage).as_posix()):
                below.remove(name)
                if here != stage / identifier:
                    shutil.rmtree(here)


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
