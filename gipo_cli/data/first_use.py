"""Logs of the catalog that are recorded on first use: once a machine, by one process, under a temporary name."""

import fcntl
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO

from gipo_cli.data import catalog
from gipo_cli.data.cache import cache_root
from gipo_cli.data.recording import Behaviour, origin_of, record
from gipo_cli.data.trajectories import Trajectories
from gipo_cli.data.writers.d4rl import write
from gipo_cli.errors import DataError, SettingError
from gipo_cli.evaluation.environments import make_environments
from gipo_cli.policies.uniform import UniformPolicy
from gipo_cli.policies.weights import load_policy
from gipo_cli.rendering import terminal


def record_entry(entry: "catalog.Entry", quiet: bool = False) -> Path:
    """Record a log of the catalog into the cache; where another process is at it, wait for that one's.

    A fingerprint other than the catalog's is said on stderr and kept: other versions of the simulator or of torch
    round otherwise, and the log is as good, but not the one that the card's numbers are of.

    Raises:
        SettingError: the environment is not installed.
        DataError: the cache cannot be written.
    """
    place = cache_root() / "logs" / entry.file
    try:
        environments = make_environments(entry.environment, entry.recipe.environments)
    except SettingError as error:
        raise SettingError(f"{entry.name} is recorded on first use, and {error.message}", error.hint) from error
    with _only_one(place, entry.name):
        if place.is_file():
            return place
        for left in place.parent.glob(f".{place.name}.tmp-*"):
            left.unlink(missing_ok=True)  # of a process that was killed: the lock says that nobody writes it
        terminal.note(f"note: recording {entry.name} ({entry.about}) into {place}, once.")
        log, origin = run(entry, environments, quiet)
        write(log, place, origin)
    if entry.fingerprint and log.fingerprint != entry.fingerprint:
        terminal.note(
            f"note: {entry.name} as recorded here is {log.fingerprint[:19]}..., the one of its card "
            f"{entry.fingerprint[:19]}...: with other versions of simulator or libraries, returns differ a little."
        )
    return place


def run(entry: "catalog.Entry", environments: list, quiet: bool = False) -> tuple[Trajectories, dict[str, str | int]]:
    """Follow an entry's recipe.

    Returns:
        The log, and how it was made, for the file's attributes.
    """
    recipe = entry.recipe
    behaviours = [_behaviour(name, environments[0], entry.environment) for name in recipe.policies]
    watched = nullcontext(lambda n=1: None) if quiet else terminal.progress(f"recording {entry.name}", recipe.steps)
    with watched as advance:
        log = record(
            [behaviour.policy for behaviour in behaviours], environments, name=entry.name,
            environment_id=entry.environment, steps=recipe.steps, seed=recipe.seed, on_steps=advance,
        )  # fmt: skip
    return log, origin_of(behaviours, seed=recipe.seed, environments=recipe.environments)


def _behaviour(name: str, environment: object, environment_id: str) -> Behaviour:
    if name == "random":
        return Behaviour(UniformPolicy(environment, environment_id), name)
    path = catalog.policy_file(name)
    policy, metadata = load_policy(path)
    return Behaviour(policy, path.name, hashlib.sha256(path.read_bytes()).hexdigest(), metadata)


@contextmanager
def _only_one(place: Path, name: str) -> Iterator[None]:
    """Hold the lock of a log, after waiting for whoever holds it."""
    lock: IO[str] | None = None
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        lock = place.with_name(f".{place.name}.lock").open("a")
    except OSError as error:
        raise DataError(
            f"{place.parent} cannot be written ({error.strerror}), and {name} has to be recorded into it.",
            "Set GIPO_CACHE to a directory of your own.",
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            terminal.note(f"note: another process is recording {name}; waiting for it.")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
