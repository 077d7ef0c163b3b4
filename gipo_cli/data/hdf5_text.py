"""Words of variable length in HDF5, read by a process of their own.

HDF5 keeps them in a heap beside the data, and follows what a damaged file says about it: of a thousand such files one
makes the library allocate gigabytes, search for ever, or end the process. So they are read where that does no harm, in
a process with little memory and time. It takes a fifth of a second; words of fixed length, as gipo writes them, are
read in place.
"""

import json
import os
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

from gipo_cli.errors import DataError

LONGEST = 2**20  # bytes of a text; robomimic's description of an environment has thousands
MOST_TEXTS = 256  # of a group
MEMORY, SECONDS = 2**28, 2  # that the process may take beyond its start
PATIENCE = 60  # seconds on the clock, on a machine that does much else

Texts = dict[str, dict[str, str]]  # "attributes" and "members" of a group, by name


def texts_of(path: Path, group: str) -> Texts:
    """All words of variable length in a group: its attributes, and the scalar datasets right below it.

    Raises:
        DataError: the file is so damaged that reading them ends the process that does.
    """
    try:
        stat = path.stat()
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror or error}).") from error
    return _texts_of(os.fspath(path.absolute()), group, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=64)
def _texts_of(path: str, group: str, _size: int, _time: int) -> Texts:
    # -P: nothing is imported from the directory that somebody happens to be in.
    command = [sys.executable, "-P", "-m", __name__, path, group]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(place for place in sys.path if os.path.isabs(place))}
    try:
        done = subprocess.run(command, capture_output=True, timeout=PATIENCE, env=environment, check=True)
        found: Texts = json.loads(done.stdout)
    except (subprocess.SubprocessError, ValueError) as error:
        raise DataError(
            f"{path} is a damaged HDF5 file (the words in '{group}' cannot be read).", "Copy or download it again."
        ) from error
    return found


def _main(path: str, group: str) -> None:
    """Print the words of a group as JSON."""
    import resource

    import h5py

    from gipo_cli.data.hdf5 import is_words, member, open_safely

    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
    most = pages * resource.getpagesize() + MEMORY
    if pages:
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    used = int(sum(resource.getrusage(resource.RUSAGE_SELF)[:2])) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (used + SECONDS, used + SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    texts: Texts = {"attributes": {}, "members": {}}
    with open_safely(Path(path)) as file:
        place: Any = file if group == "/" else member(file, group.strip("/"))
        for name in list(place.attrs)[:MOST_TEXTS]:
            stored = place.attrs.get_id(name)
            if is_words(stored.get_type()) and stored.shape == ():
                _add(texts["attributes"], name, lambda name=name: place.attrs[name])
        for name in list(place)[:MOST_TEXTS] if isinstance(place, h5py.Group) else []:
            found = member(place, name)
            if isinstance(found, h5py.Dataset) and found.shape == () and is_words(found.id.get_type()):
                _add(texts["members"], name, lambda found=found: found[()])
    sys.stdout.write(json.dumps(texts))


def _add(texts: dict[str, str], name: str, read: Any) -> None:
    try:
        value = read()
    except (OSError, RuntimeError, ValueError, TypeError, MemoryError):
        return  # this one is damaged, and as good as none
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    if isinstance(text, str) and len(text) <= LONGEST:
        texts[name] = text


if __name__ == "__main__":
    _main(*sys.argv[1:])
