"""Record a log with exact log-probs while a program of your own acts or trains.

    RecordLogProbs     a Gymnasium wrapper: you hand it the log-prob of each action
    LogProbCallback    a callback of Stable-Baselines3: it takes them from the algorithm
    save_policy_of     a live Stable-Baselines3 model as a .safetensors policy, VecNormalize's statistics included

Each is loaded when it is asked for: the wrapper needs Gymnasium alone, the other two Stable-Baselines3.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gipo_cli.collect.sb3_callback import LogProbCallback, save_policy_of
    from gipo_cli.collect.wrapper import RecordLogProbs

__all__ = ["LogProbCallback", "RecordLogProbs", "save_policy_of"]
PLACES = {"RecordLogProbs": "wrapper", "LogProbCallback": "sb3_callback", "save_policy_of": "sb3_callback"}


def __getattr__(name: str) -> Any:
    if name not in PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{PLACES[name]}"), name)
