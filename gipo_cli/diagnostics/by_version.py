"""Weights by the version of the behaviour policy: how much of the learning rests on old data."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gipo_cli.diagnostics.columns import Column, walk
from gipo_cli.diagnostics.weight_sums import WeightSums

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


def by_version(log_ratio: Column, advantage: Column, weight: Column, version: Column) -> list[Version]:
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
    sums: dict[int, _VersionSums] = {}
    for x, a, w, numbers in walk(log_ratio, advantage, weight, version):
        for number in np.unique(numbers).tolist():
            rows = numbers == number
            sums.setdefault(number, _VersionSums()).add(x[rows], a[rows], w[rows])
    if not sums:
        raise ValueError("there are no samples")
    weights, pulls = (sum(getattr(each, name) for each in sums.values()) for name in ("weight", "pull"))
    return [sums[number].found(number, weights, pulls) for number in sorted(sums)]


class _VersionSums:
    """The sums of one version over rows that come a block at a time."""

    def __init__(self) -> None:
        self.ratios, self.log_ratio, self.weight, self.pull = WeightSums(), 0.0, 0.0, 0.0

    def add(self, log_ratio: NDArray[np.float64], advantage: NDArray[np.float64], weight: NDArray[np.float64]) -> None:
        self.ratios.add(log_ratio)
        self.log_ratio += float(log_ratio.sum())
        self.weight += float(weight.sum())
        self.pull += float((weight * np.abs(advantage)).sum())

    def found(self, version: int, weights: float, pulls: float) -> Version:
        return Version(
            version, self.ratios.size, self.ratios.ess_fraction(), -self.log_ratio / self.ratios.size,
            _share(self.weight, weights), _share(self.pull, pulls),
        )  # fmt: skip


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


def _share(amount: float, total: float) -> float | None:
    return amount / total if 0 < total < np.inf else None
