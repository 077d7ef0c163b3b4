"""How long a command that computes nothing takes, from its start to its end."""

import subprocess
import sys
from collections.abc import Iterator

from tests.benchmarks.comparison import Comparison, Subject
from tests.benchmarks.scale import Scale

COMMANDS = {
    "gipo --help": ("-m", "gipo_cli", "--help"),
    "gipo datasets list": ("-m", "gipo_cli", "datasets", "list"),
    "gipo objectives": ("-m", "gipo_cli", "objectives"),
    "gipo advantages": ("-m", "gipo_cli", "advantages"),
    "python, nothing imported (limit)": ("-c", "pass"),
    "python, torch imported": ("-c", "import torch"),
}


def comparisons(scale: Scale) -> Iterator[Comparison]:
    """Processes of their own."""
    commands = {name: lambda arguments=arguments: started(arguments) for name, arguments in COMMANDS.items()}
    yield Comparison("start-up", "commands", commands, as_seconds=True)


def started(arguments: tuple[str, ...]) -> Subject:
    """One unit is one process."""

    def work(times: int) -> None:
        for _ in range(times):
            subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)

    return Subject(work)
