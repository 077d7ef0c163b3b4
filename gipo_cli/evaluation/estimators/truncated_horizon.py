"""Per-decision importance sampling that looks back a few steps only."""

from typing import Annotated

import numpy as np

from gipo_cli.diagnostics.horizon import degeneracy
from gipo_cli.evaluation.estimators import Array, Evidence, Statistic, mean_of, rests_on
from gipo_cli.settings import Expected

Steps = Annotated[float, Expected("a whole number of steps, 0 or above", lambda value: value >= 0 and value % 1 == 0)]


@rests_on("values")
def estimate(evidence: Evidence, *, horizon: Steps = 0) -> Statistic:
    """Each reward times the product of the ratios of the last h steps.

        J = 1/E sum_i sum_t gamma^t r_t prod_{t - h < k <= t} ratio_k

    Biased: it takes the policy to be where the behaviour policy was h steps ago. What a policy earns by staying alive
    over hundreds of steps is not seen; what an action earns within h steps is, without degenerate products.

    Source: Guo, Thomas and Brunskill 2017, https://arxiv.org/abs/1703.03453 (the truncated weights of INCRIS)

    Settings:
        horizon: h; 0 takes the reach of the products, up to which a tenth of the episodes counts.
    """
    reach = int(min(horizon, len(evidence.reward))) or max(1, degeneracy(evidence.log_ratio, evidence.episode).reach)

    def weighted(part: Evidence) -> Array:
        earlier = np.maximum(np.arange(len(part.step)) - reach, 0)
        dropped = np.where(part.step >= reach, part.log_product[earlier], 0.0)
        return part.per_episode(np.exp(part.log_product - dropped) * part.reward_and_rest)

    with np.errstate(over="ignore", invalid="ignore"):
        return mean_of(evidence.by_episode(weighted))
