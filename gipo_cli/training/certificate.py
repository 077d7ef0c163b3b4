"""Whether the held-out episodes bear out that the policy is better; without that, the starting policy is kept."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from torch import Tensor

from gipo_cli.diagnostics.bootstrap import FEWEST_EPISODES, lower_bound
from gipo_cli.diagnostics.episodes import numbered
from gipo_cli.diagnostics.ess import ess_fraction

LEVEL = 0.95
# Set on hopper-medium and a walker2d log: ten runs that gained had bounds of 0.37 to 0.84, one that lost (values of
# beta, improvement_kl=0: 762 from 1,064) had 0.07. No log of another kind has tested it.
LEAST_EXPLAINED = 0.25
LOWEST_ESS = 0.1  # below, nine steps in ten say nothing about the policy


@dataclass(frozen=True)
class Certificate:
    """The evidence, all of it from episodes that never trained anything.

    `explained_lower` bounds the share of the return that the advantages explain from below: advantages that explain
    little on new episodes are noise, and a policy that follows them is worse for it. `surrogate_lower` bounds the
    self-normalised surrogate, in standard deviations of the advantage. One-sided, by episode bootstrap: at 95 % for the
    first, and for the second at what `certify` was asked for.

    What it cannot see: the surrogate is measured on the states that the behaviour policy visits.
    """

    certified: bool
    reason: str
    explained_lower: float | None
    surrogate_lower: float | None
    ess_fraction: float

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def certify(
    log_ratio: Tensor, advantage: Tensor, episode: Tensor, explained_lower: float | None, level: float = LEVEL
) -> Certificate:
    """Judge a policy on held-out rows.

    Args:
        log_ratio: log pi - log beta, [H].
        advantage: in standard deviations, [H].
        episode: [H].
        explained_lower: of the advantages, from the estimator.
        level: of the bound of the surrogate; higher where this is one of several looks.
    """
    x, a = log_ratio.double().cpu().numpy(), advantage.double().cpu().numpy()
    surrogate_lower = surrogate_lower_bound(x, a, episode.cpu().numpy(), level)
    share = ess_fraction(x)
    reason = _refusal(explained_lower, surrogate_lower, share)
    return Certificate(not reason, reason, explained_lower, surrogate_lower, share)


def _refusal(explained_lower: float | None, surrogate_lower: float | None, share: float) -> str:
    if explained_lower is None or surrogate_lower is None:
        return f"fewer than {FEWEST_EPISODES} episodes are held out, too few to tell"
    if explained_lower < LEAST_EXPLAINED:
        return f"the advantages explain too little of held-out returns: {explained_lower:.2f}, below {LEAST_EXPLAINED}"
    if surrogate_lower <= 0:
        return "the held-out surrogate is not above 0 by more than chance"
    if share < LOWEST_ESS:
        return f"only {share:.0%} of the held-out steps count for the new policy"
    return ""


def surrogate_lower_bound(
    log_ratio: np.ndarray, advantage: np.ndarray, episode: np.ndarray, level: float
) -> float | None:
    """Lower bound of sum w A / sum w - mean A over resampled episodes, w the importance ratio.

    Where all that counts lies in one episode, the weights of a resample without it may be 0 in float64; its weighted
    mean, which is unknown, is then taken for the least it could be, the least advantage.
    """
    weight = np.exp(log_ratio - log_ratio.max())
    index = numbered(episode)
    columns = (weight * advantage, weight, advantage, np.ones_like(advantage))
    sums = np.stack([np.bincount(index, column) for column in columns], -1).astype(np.float64)

    def surrogate(total: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore"):
            weighted = np.where(total[:, 1] > 0, total[:, 0] / total[:, 1], advantage.min())
        return weighted - total[:, 2] / total[:, 3]

    return lower_bound(sums, surrogate, level)
