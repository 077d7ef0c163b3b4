"""Calls of the operating system below one directory: recorded, and one of them made to go wrong."""

import errno
import os
import signal
from dataclasses import dataclass, field
from pathlib import Path

CALLS = ("open", "write", "fsync", "rename", "replace", "close", "mkdir", "unlink", "rmdir", "ftruncate")
KILLS = ("kill before", "kill after", "kill in the middle", "kill twice")
ERRORS = {"no space once": errno.ENOSPC, "no space": errno.ENOSPC, "input/output": errno.EIO, "no right": errno.EACCES}
KINDS = (*KILLS, *ERRORS, "short write")
OF_WRITES = ("kill in the middle", "short write")
STAYS_POSSIBLE = ("close", "unlink", "rmdir")  # on a full disk
MINE = {"mine.txt": "run.json", "checkpoints/mine.txt": "step-00000000", "checkpoints/step-00000000/mine.txt":
        "step-00000000", "checkpoints/.tmp-mine": "step-00000000"}  # a user's file, once this is there  # fmt: skip


@dataclass
class Fault:
    """What happens at the n-th point, counted from 1; nothing at 0."""

    kind: str = ""
    at: int = 0


@dataclass
class Shim:
    """Stands between training and the operating system, for what is below one directory."""

    run: Path
    fault: Fault = field(default_factory=Fault)
    points: list[tuple] = field(default_factory=list)  # name, path, and what else tells what was done
    paths: dict[int, str] = field(default_factory=dict)  # of open handles

    def install(self):
        """Put it in place of the functions of `os`, for the rest of the process."""
        self.real = {name: getattr(os, name) for name in CALLS}
        for name in CALLS:
            setattr(os, name, self._wrap(name))

    def _wrap(self, name):
        def call(first, *arguments, **named):
            place = self.paths.get(first) if isinstance(first, int) else self._below(first)
            if place is None:
                return self.real[name](first, *arguments, **named)
            return self._point(name, place, first, *arguments, **named)

        return call

    def _below(self, path):
        text = os.fspath(path)
        found = os.path.abspath(text if isinstance(text, str) else text.decode())
        return found if found == str(self.run) or found.startswith(f"{self.run}/") else None

    def _point(self, name, place, first, *arguments, **named):
        told = {"open": arguments[:1], "write": tuple(bytes(a) for a in arguments[:1]), "rename": arguments[:1],
                "replace": arguments[:1]}.get(name, ())  # fmt: skip
        self.points.append((name, place, *(str(item) if isinstance(item, Path) else item for item in told)))
        kind = self.fault.kind if len(self.points) == self.fault.at else ""
        if self.fault.kind == "no space" and len(self.points) > self.fault.at > 0 and name not in STAYS_POSSIBLE:
            kind = "no space"
        if kind in ("kill before", "kill twice"):
            os.kill(os.getpid(), signal.SIGKILL)
        if kind in OF_WRITES and name == "write":
            half = bytes(arguments[0])[: max(1, len(arguments[0]) // 2)]
            written = self.real["write"](first, half)
            if kind == "kill in the middle":
                os.kill(os.getpid(), signal.SIGKILL)
            return written
        if kind in ERRORS:
            if name == "close":  # a handle is gone even where closing it fails
                self.real["close"](first)
                self.paths.pop(first, None)
            raise OSError(ERRORS[kind], os.strerror(ERRORS[kind]), None if isinstance(first, int) else str(first))
        try:
            result = self.real[name](first, *arguments, **named)
        finally:  # also where it fails, as the removal of what is not there does
            if kind == "kill after":
                os.kill(os.getpid(), signal.SIGKILL)
        if name == "open":
            self.paths[result] = place
        elif name == "close":
            self.paths.pop(first, None)
        elif name in ("rename", "replace"):
            self._leave_mine(Path(arguments[0]).name)
        return result

    def _leave_mine(self, there):
        for name, after in MINE.items():
            if after == there and not (self.run / name).exists():
                (self.run / name).write_text(f"mine: {name}")
