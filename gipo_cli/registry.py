"""The table of contents: what there is, by name, and the place where each thing is.

A new objective, file format or command is one file and one line here. Places are strings so that `gipo --help` and
`gipo datasets list` load nothing heavy; a test loads every one of them.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

from gipo_cli.errors import unknown_name


@dataclass(frozen=True)
class Registry:
    """Names of one kind of thing, and where each is defined."""

    kind: str
    places: dict[str, str]  # name -> "module:attribute"

    def load(self, name: str) -> Any:
        """Import and return what is registered under `name`.

        Raises:
            SettingError: the name is unknown; the nearest one is suggested.
        """
        if name not in self.places:
            raise unknown_name(self.kind, name, self.places)
        module, _, attribute = self.places[name].partition(":")
        return getattr(import_module(module), attribute)


COMMANDS = Registry(
    "command",
    {
        "train": "gipo_cli.commands.train:train",
        "inspect-weights": "gipo_cli.commands.inspect_weights:inspect_weights",
        "evaluate": "gipo_cli.commands.evaluate:evaluate",
        "compare": "gipo_cli.commands.compare:compare",
        "report": "gipo_cli.commands.report:report",
        "batch run": "gipo_cli.commands.batch_run:batch_run",
        "batch status": "gipo_cli.commands.batch_status:batch_status",
        "batch cancel": "gipo_cli.commands.batch_cancel:batch_cancel",
        "objectives": "gipo_cli.commands.objectives:objectives",
        "advantages": "gipo_cli.commands.advantages:advantages",
        "estimators": "gipo_cli.commands.estimators:estimators",
        "datasets list": "gipo_cli.commands.datasets_list:datasets_list",
        "datasets check": "gipo_cli.commands.datasets_check:datasets_check",
        "datasets info": "gipo_cli.commands.datasets_info:datasets_info",
        "datasets record": "gipo_cli.commands.datasets_record:datasets_record",
        "datasets convert": "gipo_cli.commands.datasets_convert:datasets_convert",
        "datasets split": "gipo_cli.commands.datasets_split:datasets_split",
        "datasets merge": "gipo_cli.commands.datasets_merge:datasets_merge",
        "datasets fetch": "gipo_cli.commands.datasets_fetch:datasets_fetch",
    },
)

# Asked in this order; the first whose `recognises(place)` is true reads the file.
READERS = Registry(
    "file format",
    {
        "minari": "gipo_cli.data.readers.minari:MINARI",
        "lerobot": "gipo_cli.data.readers.lerobot:LEROBOT",
        "rllib": "gipo_cli.data.readers.rllib:RLLIB",
        "open-bandit": "gipo_cli.data.readers.open_bandit:OPEN_BANDIT",
        "tensordict": "gipo_cli.data.readers.tensordict:TENSORDICT",
        "robomimic": "gipo_cli.data.readers.robomimic:ROBOMIMIC",
        "d4rl": "gipo_cli.data.readers.d4rl:D4RL",  # any other HDF5 file
        "table": "gipo_cli.data.readers.table:TABLE",  # any other NPZ, Parquet, Arrow or CSV
    },
)

WRITERS = Registry(
    "file format to write",
    {
        "d4rl": "gipo_cli.data.writers.d4rl:write",
        "minari": "gipo_cli.data.writers.minari:write",
        "npz": "gipo_cli.data.writers.npz:write",
        "parquet": "gipo_cli.data.writers.parquet:write",
    },
)

OBJECTIVES = Registry(
    "objective",
    {
        "gipo": "gipo_cli.objectives.gipo:gipo",
        "gipo-laplacian": "gipo_cli.objectives.gipo_laplacian:gipo_laplacian",
        "gipo-cauchy": "gipo_cli.objectives.gipo_cauchy:gipo_cauchy",
        "ppo-clip": "gipo_cli.objectives.ppo_clip:ppo_clip",
        "dual-clip": "gipo_cli.objectives.dual_clip:dual_clip",
        "sapo": "gipo_cli.objectives.sapo:sapo",
        "truncated-is": "gipo_cli.objectives.truncated_is:truncated_is",
        "cispo": "gipo_cli.objectives.cispo:cispo",
        "topr": "gipo_cli.objectives.topr:topr",
        "m2po": "gipo_cli.objectives.m2po:m2po",
        "kl-penalty": "gipo_cli.objectives.kl_penalty:kl_penalty",
        "trpo": "gipo_cli.objectives.trpo:trpo",
        "no-clip": "gipo_cli.objectives.no_clip:no_clip",
        "awr": "gipo_cli.objectives.awr:awr",
        "bc": "gipo_cli.objectives.behaviour_cloning:behaviour_cloning",
    },
)

ADVANTAGES = Registry(
    "advantage estimator",
    {
        "path-consistency": "gipo_cli.advantages.path_consistency:estimate",
        "monte-carlo": "gipo_cli.advantages.monte_carlo:estimate",
        "gae": "gipo_cli.advantages.gae:estimate",
        "td-lambda": "gipo_cli.advantages.td_lambda:estimate",
        "v-trace": "gipo_cli.advantages.v_trace:estimate",
        "expectile": "gipo_cli.advantages.expectile:estimate",
        "ensemble": "gipo_cli.advantages.ensemble:estimate",
    },
)

ESTIMATORS = Registry(
    "off-policy estimator",
    {
        "drl": "gipo_cli.evaluation.estimators.double_reinforcement_learning:estimate",
        "fqe": "gipo_cli.evaluation.estimators.fitted_q:estimate",
        "marginalised": "gipo_cli.evaluation.estimators.marginalised:estimate",
        "magic": "gipo_cli.evaluation.estimators.magic:estimate",
        "wdr": "gipo_cli.evaluation.estimators.weighted_doubly_robust:estimate",
        "dr": "gipo_cli.evaluation.estimators.doubly_robust:estimate",
        "wpdis": "gipo_cli.evaluation.estimators.weighted_per_decision:estimate",
        "pdis": "gipo_cli.evaluation.estimators.per_decision:estimate",
        "wis": "gipo_cli.evaluation.estimators.weighted_importance_sampling:estimate",
        "is": "gipo_cli.evaluation.estimators.importance_sampling:estimate",
        "truncated": "gipo_cli.evaluation.estimators.truncated_horizon:estimate",
    },
)

# What `gipo train --log-to NAME` opens; each needs the extra of its name.
TRACKERS = Registry(
    "tracker",
    {
        "tensorboard": "gipo_cli.trackers.tensorboard:open_tracker",
        "trackio": "gipo_cli.trackers.trackio:open_tracker",
        "wandb": "gipo_cli.trackers.wandb:open_tracker",
    },
)

# What `gipo batch --executor NAME` has run its jobs; each but local needs the extra of its name.
EXECUTORS = Registry(
    "executor",
    {
        "local": "gipo_cli.batch.executors.local:Local",
        "slurm": "gipo_cli.batch.executors.slurm:Slurm",
        "ray": "gipo_cli.batch.executors.ray:Ray",
    },
)
