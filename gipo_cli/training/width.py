"""`--sigma auto`: the width of the trust weight, as narrow as a target of KL or of effective sample size needs."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gipo_cli.config import TrainConfig
from gipo_cli.errors import SettingError

# Of log sigma, a report. It narrows faster than it widens: nothing brings a policy back that has gone too far.
NARROWING, WIDENING = 0.5, 0.1
BOUNDS = (1e-3, 10.0)


@dataclass
class Width:
    """Sigma, steered by what the held-out episodes show at each report.

        log sigma += rate * clip(log(v_target / v), -1, 1),   v = 2 KL(beta || pi)  or  -log ESS

    v is the variance of the log ratio where that is normal, for which KL is v / 2 and the effective share exp(-v); it
    starts at sigma^2 = v_target. A fixed sigma bounds each weight, not where many updates lead; this one ends them
    where the target is. It stands in for the anchor, which is switched off.
    """

    target: float  # v_target, nats^2; 0 leaves sigma alone
    by: str  # kl or ess
    state: Tensor  # [1] float64: log sigma

    @classmethod
    def start(cls, config: TrainConfig, start_kl: float) -> "Width":
        """Before the first update; what a clone fell short by at the start is not counted against the policy."""
        target = _target(config, start_kl)
        initial = 0.5 * math.log(target) if target else 0.0
        return cls(target, config.steer_sigma, torch.tensor([initial], dtype=torch.float64))

    @classmethod
    def resume(cls, config: TrainConfig, start_kl: float, state: Tensor) -> "Width":
        """As it was when a checkpoint was written."""
        return cls(_target(config, start_kl), config.steer_sigma, state.cpu())

    def settings(self, given: dict[str, float]) -> dict[str, float]:
        """The objective's settings, with sigma as it stands now."""
        return given | {"sigma": self.state.exp().item()} if self.target else given

    def steer(self, held_out: dict[str, float]) -> None:
        """Take in the figures of a report: kl in nats, ess_fraction."""
        if not self.target:
            return
        found = 2 * held_out["kl"] if self.by == "kl" else -math.log(max(held_out["ess_fraction"], 1e-12))
        missing = max(-1.0, min(1.0, math.log(self.target / max(found, 1e-6))))
        log_sigma = self.state.item() + (WIDENING if missing > 0 else NARROWING) * missing
        self.state.fill_(min(math.log(BOUNDS[1]), max(math.log(BOUNDS[0]), log_sigma)))


def _target(config: TrainConfig, start_kl: float) -> float:
    if config.steer_sigma == "kl":
        return 2 * (config.kl_target + max(0.0, start_kl))
    return -math.log(config.ess_target) if config.steer_sigma == "ess" else 0.0


def require_width(config: TrainConfig) -> None:
    """Refuse what cannot be steered.

    Raises:
        SettingError: the objective has no sigma, or there is no KL to steer to.
    """
    if not config.steer_sigma:
        return
    if "sigma" not in config.settings:
        raise SettingError(
            f"--sigma auto: the objective '{config.objective}' has no sigma.",
            "gipo, gipo-laplacian and gipo-cauchy do.",
        )
    if config.steer_sigma == "kl" and config.kl_target == 0:
        raise SettingError("--sigma auto steers to --kl-target, which is 0.", "Give it one above 0, such as 0.5.")
