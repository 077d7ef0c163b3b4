"""One file per format, and the contract they keep.

A reader is a `Reader(recognises, read)`: `recognises(place)` says from the name and the first bytes whether the place
is of its format, and must not raise; `read(place, name, options)` returns `Trajectories` or raises DataError that says
what is wrong, where, and what to do. A reader knows one format and nothing of its siblings; whatever touches HDF5 goes
through `data/hdf5.py`, and Arrow and Parquet through `data/arrow_files.py`, which refuse what could reach another
file or exhaust the machine. Formats of one row a step
fill a `data.flat.FlatLog`, which finds the ends of episodes and their final observations for all of them.

A log without log-probs is read all the same (`log_probs_origin="none"`, a note saying what there is in their place):
whether they can be estimated or recomputed is decided in `gipo_cli/logs.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from gipo_cli.data.options import ReadOptions
from gipo_cli.data.trajectories import Trajectories


@dataclass(frozen=True)
class Reader:
    """How one format is told from others, and read."""

    recognises: Callable[[Path], bool]
    read: Callable[[Path, str, ReadOptions], Trajectories]
