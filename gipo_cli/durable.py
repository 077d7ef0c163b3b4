"""The one place where bytes reach a run directory: whole or not at all, and through a power cut once a call returns.

Each function is a few calls of the operating system in an order that matters: a file's bytes are on the disk before
its name is, and a name is there to stay once its directory is synced. tests/faults.py stops at each of them.
"""

import errno
import os
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import ParamSpec, TypeVar

from gipo_cli.errors import RunError

# What a file is to hold; pieces of one that is not in memory as a whole, as often as they are asked for.
Content = bytes | Iterable[bytes]
P = ParamSpec("P")
R = TypeVar("R")

HINTS = {
    errno.ENOSPC: "Free some space",
    errno.EDQUOT: "Free some space",
    errno.EFBIG: "Lift the limit on the size of files (ulimit -f)",
    errno.EACCES: "Give yourself the right to write there",
    errno.EPERM: "Give yourself the right to write there",
    errno.EROFS: "Have its file system mounted for writing",
    errno.EIO: "See what is wrong with the disk, and copy what is on it",
}


class WriteFailed(OSError):
    """The operating system refused to write; nothing that was there before is lost."""


def failing_by_name(function: Callable[P, R]) -> Callable[P, R]:
    """A function whose OSError is a WriteFailed, so that it is told from a failure to read."""

    @wraps(function)
    def call(*arguments: P.args, **named: P.kwargs) -> R:
        try:
            return function(*arguments, **named)
        except OSError as error:
            raise WriteFailed(error.errno, error.strerror, error.filename) from error

    return call


def refusal(run: Path, error: OSError, again: str = "") -> RunError:
    """The error for a run that cannot be written: why, and what to do about it.

    Args:
        run: its directory.
        error: of the operating system.
        again: what goes on afterwards; to resume the run, unless given.
    """
    again = again or f"continue with: gipo train --resume {run}"
    first = HINTS.get(error.errno or 0, f"Mend that at {error.filename}" if error.filename else "Mend that")
    return RunError(f"{run} cannot be written ({error.strerror}).", f"{first}, then {again}")


def pieces(content: Content) -> Iterable[bytes]:
    """A content as pieces of it."""
    return (content,) if isinstance(content, bytes) else content


@failing_by_name
def write(path: Path, content: Content) -> None:
    """Replace a file by new content; whoever reads sees the old bytes or the new ones."""
    aside = path.with_name(f".{path.name}.tmp-{os.getpid()}")
    try:
        _write(aside, content, os.O_TRUNC)
        os.replace(aside, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(aside)
        raise
    _sync_directory(path.parent)


@failing_by_name
def append(path: Path, content: bytes) -> None:
    """Add to a file, which is made where it is not; a kill can leave the first part of what was to be added."""
    _write(path, content, os.O_APPEND)


@failing_by_name
def make_directory(path: Path) -> None:
    """Make a directory, and those above it that are not there."""
    if path.is_dir():
        return
    if not path.parent.exists():
        make_directory(path.parent)
    os.mkdir(path)
    _sync_directory(path.parent)


@failing_by_name
def write_directory(path: Path, files: Mapping[str, Content], aside: Path) -> None:
    """Make a directory that holds these files, of which the last is written last; it is there whole or not at all.

    Args:
        path: where; nothing may be there.
        files: content by name, in the order of writing.
        aside: where it is until it is whole, beside `path`; nothing may be there.
    """
    make_directory(path.parent)
    os.mkdir(aside)
    try:
        for name, content in files.items():
            _write(aside / name, content, os.O_EXCL)
        _sync_directory(aside)
        os.rename(aside, path)
    except BaseException:
        remove_directory(aside, files)
        raise
    _sync_directory(path.parent)


@failing_by_name
def move(path: Path, to: Path) -> None:
    """Give a file or directory another name in the same directory."""
    os.rename(path, to)
    _sync_directory(to.parent)


def remove_directory(path: Path, names: Iterable[str]) -> None:
    """Remove these files of a directory, and itself where nothing else is in it; what cannot be removed is left."""
    for name in names:
        with suppress(OSError):
            os.unlink(path / name)
    with suppress(OSError):
        os.rmdir(path)


def remove_leftovers(directory: Path, names: Iterable[str]) -> None:
    """Remove what `write` left of these files where its process was killed; only for whoever alone may write them."""
    pattern = re.compile(rf"\.({'|'.join(map(re.escape, names))})\.tmp-\d+")
    for path in sorted(directory.iterdir()):
        if pattern.fullmatch(path.name):
            with suppress(OSError):
                os.unlink(path)


def _write(path: Path, content: Content, how: int) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | how, 0o666)
    try:
        for piece in pieces(content):
            write_all(handle, piece)
        os.fsync(handle)
    finally:
        os.close(handle)


def write_all(handle: int, content: bytes) -> None:
    """Write to an open handle: one call of the operating system may take a part of it only."""
    left = memoryview(content)
    while left:
        left = left[os.write(handle, left) :]


def _sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
