"""What a job file may ask of a cluster, in a table of the executor's name: `[slurm]`, `[ray]`.

The names of `[slurm]` are submitit's, which are those of sbatch with `_` for `-`; those that would give a job more
than one process are not taken.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gipo_cli.errors import SettingError, unknown_name


@dataclass(frozen=True)
class Kind:
    """What a value has to be: in words that end an error message, and as a test."""

    words: str
    holds: Callable[[Any], bool]


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_listed(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(line, str) for line in value)


def _is_amounts(value: Any) -> bool:
    return isinstance(value, dict) and all(_is_amount(amount) for amount in value.values())


def _is_amount(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0


TEXT = Kind("text", lambda value: isinstance(value, str))
MEMORY = Kind('text, as in "16GB"', lambda value: isinstance(value, str))
WHOLE = Kind("a whole number above 0", _is_whole)
AMOUNT = Kind("a number above 0", _is_amount)
FLAG = Kind("true or false", lambda value: isinstance(value, bool))
LINES = Kind("a list of texts", _is_listed)
TABLE = Kind("a table", lambda value: isinstance(value, dict))
AMOUNTS = Kind("a table of numbers above 0", _is_amounts)
MINUTES = Kind('minutes, or text as in "1-12:00:00"', lambda value: isinstance(value, str) or _is_whole(value))
CLUSTER = Kind('"slurm", or "local" to try it out on this machine', lambda value: value in ("slurm", "local"))

CLUSTERS: dict[str, dict[str, Kind]] = {
    "slurm": {
        "partition": TEXT, "account": TEXT, "qos": TEXT, "time": MINUTES, "cpus_per_task": WHOLE,
        "mem": MEMORY, "mem_per_cpu": MEMORY, "mem_per_gpu": MEMORY, "gpus_per_node": WHOLE, "gpus_per_task": WHOLE,
        "cpus_per_gpu": WHOLE, "gres": TEXT, "constraint": TEXT, "nodelist": TEXT, "exclude": TEXT, "exclusive": FLAG,
        "dependency": TEXT, "comment": TEXT, "wckey": TEXT, "mail_type": TEXT, "mail_user": TEXT,
        "signal_delay_s": WHOLE, "setup": LINES, "teardown": LINES, "srun_args": LINES, "use_srun": FLAG,
        "additional_parameters": TABLE, "python": TEXT, "cluster": CLUSTER,
    },
    "ray": {"address": TEXT, "num_cpus": WHOLE, "num_gpus": AMOUNT, "resources": AMOUNTS},
}  # fmt: skip


def require_known(cluster: str, name: str, value: Any) -> None:
    """Refuse what a cluster cannot be asked.

    Raises:
        SettingError: there is no such setting, or its value is of the wrong kind.
    """
    known = CLUSTERS[cluster]
    if name not in known:
        raise unknown_name(f"setting of [{cluster}]", name, known)
    if not known[name].holds(value):
        raise SettingError(f"{name} of [{cluster}] is {value!r}; expected {known[name].words}.")
