"""Weights by the version of the behaviour policy: how much of the learning rests on old data."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gipo_cli.diagnostics.ess import ess_fraction

OLD = 0.5  # of the largest age; the authors' share for data of a training that still goes on


@dataclass(frozen=True)
class Version:
    """The steps of one behaviour policy."""

    version: int  # from 0, the oldest
    transitions: int
    ess_fraction: float
    kl: float  # mean of log beta - log pi, in nats, to the policy that acted
    weight_share: float | None  # of all effective weight; none where there is none
    gradient_share: float | None  # of all effective weight times |advantage|


def by_version(
    log_ratio: NDArray[np.floating],
    advantage: NDArray[np.floating],
    weight: NDArray[np.floating],
    version: NDArray[np.integer],
) -> list[Version]:
    """Effective share, KL and share of the learning of each version of the behaviour policy, the oldest first.

    Source: ESS_Eff_Old and OldUShare of the authors of GIPO (AcceRL, docs/new_diagnostic_metrics.md), by version

    Args:
        log_ratio: to the policy that acted, in nats, [N].
        advantage: any unit, [N].
        weight: effective weight, [N].
        version: [N].

    Raises:
        ValueError: there is no sample.
    """
    if log_ratio.size == 0:
        raise ValueError("there are no samples")
    pull = weight * np.abs(advantage)

    def of(number: int) -> Version:
        rows = version == number
        return Version(
            number, int(rows.sum()), ess_fraction(log_ratio[rows]), float(-log_ratio[rows].mean()),
            _share(weight, rows), _share(pull, rows),
        )  # fmt: skip

    return [of(number) for number in np.unique(version).tolist()]


def old_share(versions: list[Version]) -> tuple[float | None, float | None, float]:
    """Shares of old data in the effective weight, in weight times |advantage|, and in the transitions.

        old: (newest - version) >= 0.5 (newest - oldest)

    Far below its share of the transitions, old data is there and not used.

    Source: OldUShare and OldUShare_AbsGradProxy of the authors of GIPO (AcceRL, docs/clip_metrics.md)
    """
    newest, oldest = versions[-1].version, versions[0].version
    old = [each for each in versions if newest > oldest and newest - each.version >= OLD * (newest - oldest)]
    total = sum(each.transitions for each in versions)
    return _sum(old, "weight_share"), _sum(old, "gradient_share"), sum(each.transitions for each in old) / total


def _sum(versions: list[Version], name: str) -> float | None:
    found = [getattr(each, name) for each in versions]
    return None if None in found else float(sum(found))


def _share(amount: NDArray[np.floating], rows: NDArray[np.bool_]) -> float | None:
    total = float(amount.sum())
    return float(amount[rows].sum()) / total if 0 < total < np.inf else None
