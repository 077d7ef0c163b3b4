"""Checkpoints as directories: which are there, which are whole, how one comes and how one goes. Loads no torch."""

import json
import os
import re
from hashlib import file_digest, sha256
from itertools import count
from pathlib import Path
from typing import Any

from gipo_cli import durable

PLACE = "checkpoints"  # below the run directory
MANIFEST = "MANIFEST.json"
LATEST = "latest"
STATE = "state.json"
GROUPS = ("policy", "optimizer", "training", "beta")  # of tensors, each a file
OURS = (*(f"{group}.safetensors" for group in GROUPS), STATE, MANIFEST)  # all that gipo writes into a checkpoint
NAME = re.compile(r"step-\d{8,}")
UNFINISHED = re.compile(r"\.tmp-\d+-\d+")  # being written, or being removed, when its process was killed


def place_of(run: Path, step: int) -> Path:
    """Where the checkpoint of a step is."""
    return run / PLACE / f"step-{step:08d}"


def step_of(path: Path) -> int:
    """The step of a checkpoint, by its name."""
    return int(path.name.removeprefix("step-"))


def state_of(path: Path) -> dict[str, Any]:
    """The plain values of a checkpoint that is whole."""
    return json.loads((path / STATE).read_text(encoding="utf-8"))


def checkpoints_in(run: Path) -> list[Path]:
    """All that are called a checkpoint, oldest first, whole or not."""
    found = (path for path in (run / PLACE).glob("step-*") if NAME.fullmatch(path.name))
    return sorted(found, key=step_of)


def is_whole(path: Path) -> bool:
    """Whether every file of a checkpoint is there with the bytes that its manifest names."""
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        return STATE in manifest and all(
            "/" not in name and _digest_of(path / name) == entry["sha256"] for name, entry in manifest.items()
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return False


def _digest_of(file: Path) -> str:
    with file.open("rb") as opened:
        return file_digest(opened, "sha256").hexdigest()


def holds_more(path: Path) -> bool:
    """Whether somebody put something into a checkpoint that gipo does not write."""
    return any(entry.name not in OURS for entry in path.iterdir())


def find_latest(run: Path) -> tuple[Path | None, list[str]]:
    """The newest whole checkpoint of a run, and a warning for each newer one. Nothing is deleted on the way."""
    warnings = []
    for path in reversed(checkpoints_in(run)):
        if is_whole(path):
            return path, warnings
        warnings.append(f"{path} is damaged; falling back to an older checkpoint.")
    return None, warnings


def write(run: Path, step: int, files: dict[str, durable.Content]) -> Path:
    """Make the checkpoint of a step: files, then their manifest, then the rename that makes it visible.

    A step that is there and whole is left alone.
    """
    final = place_of(run, step)
    if not is_whole(final):
        if final.exists():
            # A damaged one keeps its bytes for whoever wants to look, under a name no reader asks for.
            aside = (final.with_name(f".damaged-{final.name}-{n}") for n in count())
            durable.move(final, next(path for path in aside if not path.exists()))
        manifest = {name: _described(content) for name, content in files.items()}
        text = json.dumps(manifest, indent=1, sort_keys=True) + "\n"
        durable.write_directory(final, {**files, MANIFEST: text.encode()}, _unfinished(final))
    name_latest(run, final)
    return final


def _described(content: durable.Content) -> dict[str, Any]:
    digest, size = sha256(), 0
    for piece in durable.pieces(content):
        digest.update(piece)
        size += len(piece)
    return {"sha256": digest.hexdigest(), "size": size}


def name_latest(run: Path, checkpoint: Path) -> None:
    """Write the name of the newest checkpoint, unless it is there: a kill may have come before it was."""
    text, place = f"{checkpoint.name}\n".encode(), run / LATEST
    if not place.is_file() or place.read_bytes() != text:
        durable.write(place, text)


def remove(path: Path) -> None:
    """Take a checkpoint away: at once for whoever reads, then file by file; what is not gipo's is left."""
    aside = _unfinished(path)
    durable.move(path, aside)
    durable.remove_directory(aside, OURS)


def remove_unfinished(run: Path) -> None:
    """Remove what killed processes left half written or half removed; only for whoever alone may write the run."""
    for path in sorted((run / PLACE).glob(".tmp-*")):
        if UNFINISHED.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
            durable.remove_directory(path, OURS)


def _unfinished(final: Path) -> Path:
    names = (final.with_name(f".tmp-{step_of(final)}-{n}") for n in count(os.getpid()))
    return next(path for path in names if not path.exists())
