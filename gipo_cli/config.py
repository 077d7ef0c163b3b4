"""What a training run is told: one frozen record, written to config.toml and read back by `--config`.

Standard library only, so that `gipo --help` stays light.
"""

import dataclasses
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from gipo_cli.errors import SettingError, unknown_name

if TYPE_CHECKING:
    from gipo_cli.data.options import LogOptions


@dataclass(frozen=True)
class TrainConfig:
    """A training run. Every default was chosen once, for all logs; `examples/studies` holds what it rests on."""

    dataset: str
    objective: str = "gipo"
    settings: dict[str, float] = field(default_factory=dict)  # of the objective; what is not named keeps its default
    seed: int = 0
    device: str = "auto"
    threads: int = 0  # of the CPU; 0 takes one a core. However many there are, the numbers are the same
    cuda_graph: bool = True  # on a GPU: an update is recorded once and replayed; false launches every kernel anew
    init: str = ""  # a run, checkpoint or policy file to start from instead of the behaviour policy

    log_prob_key: str = ""  # column that holds the log-probs, where it is not found by itself
    log_prob_convention: str = ""  # density they are of, whatever the file says
    mapping: str = ""  # TOML file that says which column of a table is which
    repair: tuple[str, ...] = ()  # repairs applied to the log, in this order
    behaviour: str = ""  # policy file from which log-probs are recomputed
    estimate_behaviour: bool = False  # clone the behaviour policy where the log has no log-probs
    accept: tuple[str, ...] = ()  # errors of the checks that are taken as warnings

    held_out_fraction: float = 0.1  # share of the episodes that never trains anything

    advantage: str = "path-consistency"  # the estimator, a name of registry.ADVANTAGES
    advantage_settings: dict[str, float] = field(default_factory=dict)  # of the estimator, likewise
    discount: float = 0.997  # gamma; a fall 300 steps ahead still counts
    critic_steps: int = 4000  # updates of the value function and the advantages
    improvement_kl: float = 0.5  # nats from beta to the improved policy that values look ahead to; 0 values beta

    rounds: int = 1  # times that values are computed; each after the first is for the policy as it then is

    steps: int = 2000  # updates of the policy
    stale_rows: bool = False  # of a log by several policies: train on the rows of all, not of the start's alone
    batch_size: int = 1024
    learning_rate: float = 1e-4
    ess_base: float = 0.0  # share of a batch that has to count for the full learning rate; 0 takes it always
    max_gradient_norm: float = 1.0
    ratios: str = "joint"  # or per-dimension: an importance ratio for each dimension of the action, as GIPO's authors

    kl_target: float = 0.5  # nats of KL(beta || pi) that the anchor steers to; 0 switches the anchor off
    steer_sigma: str = ""  # kl or ess: sigma is steered to kl_target or ess_target in place of the anchor
    ess_target: float = 0.5  # effective share of the held-out steps that steer_sigma=ess goes for

    patience: int = 0  # reports without a new best lower bound of the held-out surrogate that end a run; 0 never does
    certify: bool = True  # go back to the starting policy where held-out episodes do not bear out an improvement

    hidden_sizes: tuple[int, ...] = (256, 256)  # of a cloned policy; a loaded one keeps its own shape
    activation: str = "relu"
    clone_steps: int = 12000  # at most; cloning stops when held-out log-likelihood does

    report_every: int = 100
    checkpoint_every: int = 500
    keep: int = 0  # newest checkpoints that stay, beside that of step 0; 0 keeps all

    def __post_init__(self) -> None:
        """Refuse what cannot be trained with, before anything is read or written."""
        above_zero = (
            "steps",
            "batch_size",
            "learning_rate",
            "max_gradient_norm",
            "clone_steps",
            "critic_steps",
            "rounds",
        )
        for name in (*above_zero, "report_every", "checkpoint_every"):
            _require(name, getattr(self, name), lambda value: value > 0, "above 0")
        _require("threads", self.threads, lambda value: value >= 0, "0 (one a core) or above")
        _require("ess_base", self.ess_base, lambda value: 0 <= value <= 1, "from 0 (off) to 1")
        _require("kl_target", self.kl_target, lambda value: value >= 0, "0 (no anchor) or above")
        _require("improvement_kl", self.improvement_kl, lambda value: value >= 0, "0 (beta's own values) or above")
        _require("discount", self.discount, lambda value: 0 <= value < 1, "of 0 or above and below 1")
        _require("patience", self.patience, lambda value: value >= 0, "0 (off) or above")
        _require("keep", self.keep, lambda value: value >= 0, "0 (all) or above")
        _require("seed", self.seed, lambda value: 0 <= value < 2**63, "0 or above")
        _require("held_out_fraction", self.held_out_fraction, lambda value: 0 < value < 1, "between 0 and 1")
        if self.patience and self.rounds > 1:
            raise SettingError(
                "patience compares reports, and every round has advantages of its own to report on.",
                "Give patience, or rounds above 1, not both.",
            )
        if not self.hidden_sizes or min(self.hidden_sizes) < 1:
            raise SettingError(f"hidden_sizes is {list(self.hidden_sizes)}; expected widths of 1 or more.")
        _require("ess_target", self.ess_target, lambda value: 0 < value < 1, "between 0 and 1")
        if self.steer_sigma not in ("", "kl", "ess"):
            raise unknown_name("figure to steer sigma by", self.steer_sigma, ("kl", "ess"))
        if self.ratios not in ("joint", "per-dimension"):
            raise unknown_name("kind of ratios", self.ratios, ("joint", "per-dimension"))
        if self.activation not in ("relu", "tanh"):
            raise unknown_name("activation", self.activation, ("relu", "tanh"))

    def log_options(self) -> "LogOptions":
        """What the run does to its log before anything is trained."""
        from gipo_cli.data.options import LogOptions

        return LogOptions(
            log_prob_key=self.log_prob_key, log_prob_convention=self.log_prob_convention, mapping=self.mapping,
            repair=self.repair, behaviour=self.behaviour, estimate_behaviour=self.estimate_behaviour,
            accept=self.accept, seed=self.seed,
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        """Plain values, as config.toml holds them."""
        values = dataclasses.asdict(self)
        for name in ("hidden_sizes", "repair", "accept"):
            values[name] = list(values[name])
        return values


def from_values(values: dict[str, Any], source: str) -> TrainConfig:
    """Build a configuration from what a user wrote; a wrong name or type is named, with the nearest right one.

    Raises:
        SettingError: an unknown name, a value of the wrong type, or one out of its range.
    """
    from pydantic import TypeAdapter, ValidationError

    known = [item.name for item in dataclasses.fields(TrainConfig)]
    for name in values:
        if name not in known:
            error = unknown_name("setting", name, known)
            raise SettingError(f"{source}: {error.message}", error.hint)
    if "dataset" not in values:
        raise SettingError(f"{source}: no dataset is named.", "Try: gipo train --dataset hopper-medium")
    try:
        return TypeAdapter(TrainConfig).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SettingError(f"{source}: {where} is {first['input']!r}; {first['msg'].lower()}.") from error


def _require(name: str, value: float, holds: Any, expected: str) -> None:
    if not math.isfinite(value) or not holds(value):
        raise SettingError(f"{name} is {value}; expected a number {expected}.")
