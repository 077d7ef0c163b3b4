"""Fetch a published file: resumed where it broke off, and believed only once its size and sha256 are right."""

import fcntl
import hashlib
import http.client
import os
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from gipo_cli.data.remotes import Remote
from gipo_cli.errors import DataError

PIECE = 1 << 20  # bytes
TIMEOUT = 30  # seconds without a byte
ATTEMPTS = 5  # after each of which more of the file is there
SPARE_DISK = 2**26  # bytes left free

OnBytes = Callable[[int], None]


class _BrokenOff(Exception):
    """The server stopped before the end."""


def is_whole(path: Path, remote: Remote) -> bool:
    """Whether a file is the published one, byte for byte."""
    return path.is_file() and path.stat().st_size == remote.size and _sha256(path) == remote.sha256


def fetch(remote: Remote, on_bytes: OnBytes) -> Path:
    """Download a file to its place; one that broke off goes on where it stopped, here or at the next call.

    Args:
        remote: what, and from where.
        on_bytes: called with the number of bytes that have come in, those of earlier calls first.

    Raises:
        DataError: there is no network, the server has not got it, it breaks off, or it is another file.
    """
    part = remote.place.with_name(remote.place.name + ".part")
    with _only_one(part, remote) as file:
        on_bytes(min(_size(file), remote.size))
        for attempt in range(ATTEMPTS):
            before = _size(file)
            try:
                _transfer(remote, file, on_bytes)
                break
            except _BrokenOff as error:
                if attempt == ATTEMPTS - 1 or _size(file) <= before:
                    raise DataError(
                        f"{remote.url} broke off after {_size(file):,} of {remote.size:,} bytes ({error}).",
                        f"`gipo datasets fetch {remote.name}` goes on from there.\n{_by_hand(remote)}",
                    ) from error
        file.flush()
        _verify(part, remote, f"what {remote.url} sent")
        os.fsync(file.fileno())
        os.replace(part, remote.place)
    return remote.place


def import_file(source: Path, remote: Remote) -> Path:
    """Take a file that was downloaded by hand, after the same checks.

    Raises:
        DataError: it is missing or another file, or there is no room for it.
    """
    if not source.is_file():
        raise DataError(f"there is no file {source}.", f"Expected {remote.url}, downloaded by hand.")
    aside = remote.place.with_name(f".{remote.place.name}.tmp-{os.getpid()}")
    try:
        remote.place.parent.mkdir(parents=True, exist_ok=True)
        if source.stat().st_size == remote.size:
            shutil.copyfile(source, aside)
            _verify(aside, remote, str(source))  # the copy: what is used is what was checked
        else:
            _refuse_size(source.stat().st_size, remote, str(source))
        os.replace(aside, remote.place)
    except OSError as error:
        raise DataError(f"{remote.place} cannot be written ({error.strerror or error}).", _CACHE_HINT) from error
    finally:
        aside.unlink(missing_ok=True)
    return remote.place


_CACHE_HINT = "Make room there, or set GIPO_CACHE to a directory that has it."


def _by_hand(remote: Remote) -> str:
    return (
        f"Without this server: download {remote.url} elsewhere;\n"
        f"`gipo datasets fetch {remote.name} --from FILE` checks the file and puts it at {remote.place}."
    )


@contextmanager
def _only_one(part: Path, remote: Remote) -> Iterator[IO[bytes]]:
    """The unfinished file, open at its end and locked against another process that fetches the same."""
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        file = part.open("ab+")
        room = shutil.disk_usage(part.parent).free + _size(file)
    except OSError as error:
        raise DataError(f"{part} cannot be written ({error.strerror or error}).", _CACHE_HINT) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DataError(f"another process is fetching {remote.name}.", "Wait until it is done.") from error
        if room < remote.size + SPARE_DISK:
            raise DataError(
                f"{remote.name} has {remote.size:,} bytes, and {part.parent} has {room:,} left.", _CACHE_HINT
            )
        try:
            yield file
        except OSError as error:
            raise DataError(f"{part} cannot be written ({error.strerror or error}).", _CACHE_HINT) from error
        finally:
            if part.exists() and part.stat().st_size == 0:
                part.unlink()


def _size(file: IO[bytes]) -> int:
    file.flush()
    return os.fstat(file.fileno()).st_size


def _transfer(remote: Remote, file: IO[bytes], on_bytes: OnBytes) -> None:
    """Append what is missing; start again where the server cannot go on from the middle."""
    there = _size(file)
    if there == remote.size:
        return
    answer = _answer(remote, there) if there < remote.size else None
    if there and not _goes_on(answer, there, remote):
        on_bytes(-min(there, remote.size))
        file.truncate(0)
        if answer is None or answer.status != 200:
            if answer is not None:
                answer.close()
            answer = _answer(remote, 0)
    assert answer is not None
    with answer:
        _refuse_length(answer.headers.get("Content-Length"), _size(file), remote)
        while _size(file) < remote.size:
            try:
                # A byte more than expected is asked for, so that a longer file is not taken for this one.
                piece = answer.read(min(PIECE, remote.size - _size(file) + 1))
            except (OSError, http.client.HTTPException) as error:
                raise _BrokenOff(str(error) or type(error).__name__) from error
            if not piece:
                raise _BrokenOff("the connection was closed")
            file.write(piece)
            on_bytes(len(piece))


def _answer(remote: Remote, there: int) -> Any:
    """The server's answer from byte `there` on; none where it says that its file ends before."""
    request = urllib.request.Request(remote.url, headers={"Range": f"bytes={there}-"} if there else {})
    try:
        return urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code == 416 and there:
            return None
        raise DataError(f"{remote.url} answers {error.code} {error.reason}.", _by_hand(remote)) from error
    except (OSError, http.client.HTTPException) as error:  # URLError is an OSError
        reason = getattr(error, "reason", error)
        raise DataError(f"{remote.url} cannot be reached ({reason}).", _by_hand(remote)) from error


def _goes_on(answer: Any, there: int, remote: Remote) -> bool:
    """Whether the answer begins at the byte that was asked for, of a file of the right size."""
    expected = f"bytes {there}-{remote.size - 1}/{remote.size}"
    return answer is not None and answer.status == 206 and answer.headers.get("Content-Range") == expected


def _refuse_length(length: str | None, there: int, remote: Remote) -> None:
    """Refuse a file of another size before it is downloaded, where the server says its size."""
    if length is not None and length.isdigit() and there + int(length) != remote.size:
        _refuse_size(there + int(length), remote, f"what {remote.url} sends")


def _verify(path: Path, remote: Remote, what: str) -> None:
    """Refuse a file that is not the published one, and take it away: nothing can go on from it."""
    size = path.stat().st_size
    if size != remote.size:
        path.unlink()
        _refuse_size(size, remote, what)
    found = _sha256(path)
    if found != remote.sha256:
        path.unlink()
        raise DataError(
            f"{what} is not {remote.name}: its sha256 is {found}, expected {remote.sha256}.",
            "It was changed or damaged on the way, and is not kept. Fetch it again, or from another place.",
        )


def _refuse_size(size: int, remote: Remote, what: str) -> None:
    raise DataError(
        f"{what} is not {remote.name}: it has {size:,} bytes, expected {remote.size:,}.",
        "It is another file, or cut short.",
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
