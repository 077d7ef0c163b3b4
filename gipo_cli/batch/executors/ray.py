"""Tasks of a Ray cluster; of one on this machine, made for the batch, where none is named.

Every machine of the cluster has to see the batch directory and the logs under the same paths, and has to have gipo.
"""

import os
import re
import signal
import socket
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from gipo_cli.batch.directory import BatchDirectory, Listed
from gipo_cli.batch.executors import Ended
from gipo_cli.batch.relay import attend
from gipo_cli.errors import SettingError, brief

# Before it is loaded: a cluster that a batch makes tells nobody of itself.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
ray: Any = import_module("ray")  # the extra

PATIENCE = 10  # seconds that a cluster may take to answer
OWN = "local"  # Ray's word for a cluster of its own on this machine


class Ray:
    """A task for each attempt, as many at a time as the cluster has room for unless `slots` says otherwise.

    Tasks end with this process; what they trained goes on from its newest checkpoint when the batch is started again.
    """

    def __init__(self, batch: BatchDirectory, slots: int | None, settings: Mapping[str, Any]) -> None:
        """Connect to the cluster.

        Raises:
            SettingError: there is none at the address.
        """
        self.slots = slots or sys.maxsize
        self._place, self._threads = batch.path.absolute(), settings.get("num_cpus", 1)
        asked = {name: settings[name] for name in ("num_gpus", "resources") if name in settings}
        self._running: dict[str, Any] = {}  # tasks
        _connect(settings.get("address") or os.environ.get("RAY_ADDRESS") or OWN)
        # The batch tries again, by its own rules.
        self._task = ray.remote(max_retries=0, num_cpus=self._threads, **asked)(attend)

    def adopt(self, job: Listed) -> bool:
        """Never: tasks do not outlive the batch that started them."""
        return False

    def start(self, job: Listed, seconds: float) -> None:
        """Begin an attempt at a job, once the cluster has room."""
        self._running[job.name] = self._task.options(name=job.name).remote(self._place, job, self._threads)

    def ended(self) -> list[Ended]:
        """What ended."""
        if not self._running:
            return []
        over, _ = ray.wait(list(self._running.values()), num_returns=len(self._running), timeout=0)
        found = [_end_of(name, task) for name, task in self._running.items() if task in over]
        for end in found:
            del self._running[end.name]
        return found

    def stop(self) -> None:
        """Cancel every task; one that runs has training save and go."""
        for task in self._running.values():
            ray.cancel(task)


def _connect(address: str) -> None:
    if ray.is_initialized():
        return
    try:
        _require_answer(address)
        ray.init(address=address, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise SettingError(
            f"no Ray cluster can be had at {address} ({brief(error)}).",
            "Start one with `ray start --head`, or leave `address` out of [ray] for one on this machine.",
        ) from error


def _require_answer(address: str) -> None:
    """Refuse an address at which nobody listens: Ray would try it for many minutes.

    Raises:
        OSError: nobody does.
    """
    if found := re.fullmatch(r"(?:ray://)?(.+):(\d+)", address):
        socket.create_connection((found[1].strip("[]"), int(found[2])), timeout=PATIENCE).close()


def _end_of(name: str, task: Any) -> Ended:
    try:
        return Ended(name, ray.get(task))
    except ray.exceptions.TaskCancelledError:
        return Ended(name, -signal.SIGTERM)
    except ray.exceptions.RayTaskError as error:
        return Ended(name, -signal.SIGKILL, f"Ray: {type(error.cause).__name__}: {brief(error.cause)}")
    except ray.exceptions.RayError as error:
        return Ended(name, -signal.SIGKILL, f"Ray: {brief(error)}")
