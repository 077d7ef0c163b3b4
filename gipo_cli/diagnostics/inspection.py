"""All statistics of one run's importance weights, split by split: the document that `gipo inspect-weights` prints."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gipo_cli.diagnostics.by_dimension import by_dimension
from gipo_cli.diagnostics.by_episode import by_episode
from gipo_cli.diagnostics.by_time import by_time
from gipo_cli.diagnostics.by_version import by_version, old_share
from gipo_cli.diagnostics.clipping import outside_clip, ppo_dead
from gipo_cli.diagnostics.columns import Column, Computed, Rows, Share, walk
from gipo_cli.diagnostics.concentration import Bounds, surrogate_bounds
from gipo_cli.diagnostics.episodes import Runs, runs_of
from gipo_cli.diagnostics.histogram import counts, shared_edges
from gipo_cli.diagnostics.horizon import degeneracy
from gipo_cli.diagnostics.kl import K3Sum
from gipo_cli.diagnostics.mean_ratio import mean_ratio, mean_with_error
from gipo_cli.diagnostics.moments import QUANTILES, Moments, quantiles, weight_moments, weight_quantiles
from gipo_cli.diagnostics.order_statistics import quantile
from gipo_cli.diagnostics.pareto_k import tail_of, tail_shape
from gipo_cli.diagnostics.sigma_curve import sigma_curve
from gipo_cli.diagnostics.suppression import suppressed
from gipo_cli.diagnostics.verdict import (
    bounds_finding,
    episodes_finding,
    findings,
    horizon_finding,
    old_finding,
    origin_finding,
    sigma_finding,
    verdict,
)
from gipo_cli.diagnostics.weight_sums import WeightSums

BINS = 60
LARGEST_SHOWN = 20.0  # nats; a ratio of 5e8 and anything beyond share the last bin of a histogram


@dataclass(frozen=True)
class Weights:
    """What a run says of every logged step, each [N]; log_ratio in nats. Arrays, or what gives as much in blocks."""

    log_ratio: Column
    advantage: Column
    episode: Column
    held_out: Column
    trust_weighted: Column  # the effective weight, see objectives.effective_weight
    parts: Column | None = None  # log ratio of each dimension of the action, [N, A], where known
    version: Column | None = None  # of the behaviour policy, where there are several

    def at(self, mask: Column) -> "Weights":
        """The same columns at the rows where a mask holds; arrays where they are arrays."""
        columns = {field.name: getattr(self, field.name) for field in fields(self)}
        rows = Rows(mask)
        return replace(self, **{name: rows.taken(column) for name, column in columns.items() if column is not None})

    @cached_property
    def runs(self) -> Runs:
        """Which rows are of one episode."""
        return runs_of(self.episode)

    @property
    def raw(self) -> Column:
        """The importance ratio, [N]; saturated at 20 nats, so for showing and not for statistics."""
        return Computed(_saturated_ratio, self.log_ratio)


def inspect(
    weights: Weights,
    bound: float | None,
    log_probs: str = "recorded",
    everyone: Weights | None = None,
    stale_rows: bool = True,
) -> dict[str, Any]:
    """Statistics by split, histograms, findings and the verdict, as plain values without nan.

    The findings are judged on the held-out steps, because the policy was fitted to the others; on all steps only
    where nothing was held out.

    Args:
        weights: the run's columns.
        bound: the largest weight that the objective can give; None where there is none.
        log_probs: where the log's behaviour log-probs come from: recorded, recomputed or estimated.
        everyone: the columns with the rows of all versions, where several policies acted and `weights` has one's.
        stale_rows: whether training saw the rows of all versions, and not of the start's alone.
    """
    versions = _versions(everyone)
    horizon = degeneracy(weights.log_ratio, weights.runs)
    splits = _splits(weights, bound)
    split, part, said = _judged_part(weights)
    surrogate = _surrogate(part, bound)
    curve = _known(sigma_curve, part.log_ratio, part.advantage, part.runs)
    episodes = by_episode(weights.log_ratio, weights.runs)
    found = [*findings(said, _judged(part, splits[split])), *episodes_finding(episodes), horizon_finding(horizon)]
    found += bounds_finding(surrogate)
    found += [
        *sigma_finding(curve),
        *old_finding(versions["old"] if versions else None, stale_rows),
        *origin_finding(log_probs),
    ]
    return {
        "log_probs": log_probs,
        "splits": splits,
        "horizon": asdict(horizon),
        "by_time": [asdict(stretch) for stretch in by_time(weights.log_ratio, weights.runs)],
        "by_episode": asdict(episodes),
        "by_dimension": None if weights.parts is None else [asdict(each) for each in by_dimension(weights.parts)],
        "by_version": versions,
        "surrogate": asdict(surrogate) if surrogate else None,
        "sigma_curve": None if curve is None else [asdict(error) for error in curve],
        "histogram": _histogram(weights),
        "findings": found,
        "verdict": verdict(found),
    }


def _versions(everyone: Weights | None) -> dict[str, Any] | None:
    """Of each version of the behaviour policy, and the shares of old data; None where one policy acted."""
    if everyone is None or everyone.version is None:
        return None
    found = by_version(everyone.log_ratio, everyone.advantage, everyone.trust_weighted, everyone.version)
    weight, gradient, transitions = old_share(found)
    old = {"transition_share": transitions, "weight_share": weight, "gradient_share": gradient}
    return {"old": old, "versions": [asdict(each) for each in found]}


def _splits(weights: Weights, bound: float | None) -> dict[str, Any]:
    """The statistics of all rows and of parts of them; an advantage of exactly 0 is in neither of the last two."""
    columns = (weights.log_ratio, weights.advantage, weights.trust_weighted)
    masks = {
        "held_in": Computed(np.logical_not, weights.held_out),
        "held_out": weights.held_out,
        "positive_advantage": Computed(_positive, weights.advantage),
        "negative_advantage": Computed(_negative, weights.advantage),
    }
    parts = {name: Rows(mask) for name, mask in masks.items()}
    found = {name: statistics(*map(rows.of, columns), bound=bound) for name, rows in parts.items()}
    return {"all": statistics(*columns, bound=bound), **found}


def statistics(
    log_ratio: Column,
    advantage: Column,
    trust_weighted: Column,
    bound: float | None = None,
) -> dict[str, Any]:
    """Every number of one split; None where a number cannot be known, so all of them where the split is empty.

    Args:
        log_ratio: in nats, [N].
        advantage: any unit, [N].
        trust_weighted: the effective weight, [N].
        bound: the largest weight that the objective can give; None where there is none, or nobody asks.
    """
    raw, trust, x, k3, tail = WeightSums(), WeightSums(), Moments(), K3Sum(), tail_of(len(log_ratio))
    dead, outside, suppression = Share(ppo_dead), Share(outside_clip), Share(suppressed)
    for ratios, advantages, weights in walk(log_ratio, advantage, trust_weighted):
        for sums in (raw, x, k3, tail, outside):
            sums.add(ratios)
        trust.add(_log(weights))
        dead.add(ratios, advantages)
        suppression.add(weights)
    levels = _known(quantiles, log_ratio)
    return {
        "transitions": len(log_ratio),
        "raw": {
            **_weight_figures(raw),
            "pareto_k": _known(tail_shape, tail.rising(), len(log_ratio)),
            "quantiles": weight_quantiles(levels) if levels else dict.fromkeys(QUANTILES),
        },
        "trust_weighted": {**_weight_figures(trust), "bound": bound},
        "kl": {"k1": None if x.size == 0 else -x.mean(), "k3": _known(k3.value)},
        "log_ratio": {
            "mean": _known(x.mean),
            "std": _known(x.std),
            "second_moment": _known(x.second_moment),
            "quantiles": levels or dict.fromkeys(QUANTILES),
        },
        "ppo_dead_fraction": _known(dead.value),
        "outside_clip_fraction": _known(outside.value),
        "suppressed_fraction": _known(suppression.value),
    }


def _weight_figures(sums: WeightSums) -> dict[str, float | None]:
    moments = _known(sums.moments) or dict.fromkeys(("mean", "std", "max"))
    return {**moments, "ess": _known(sums.ess), "ess_fraction": _known(sums.ess_fraction)}


def _judged_part(weights: Weights) -> tuple[str, Weights, str]:
    """The split that the findings speak of, its rows, and what these are in words: held out, or all where none are."""
    if Rows(weights.held_out).count:
        return "held_out", weights.at(weights.held_out), "held-out transitions"
    return "all", weights, "transitions (none was held out)"


def _judged(part: Weights, split: dict[str, Any]) -> dict[str, Any]:
    """The figures that the findings are made of: those of the split, and what only they need."""
    x = part.log_ratio
    mean_square = weight_moments(Computed(_twice, x))["mean"]
    return {
        "ess_raw": split["raw"]["ess_fraction"],
        "pareto_k": (split["raw"]["pareto_k"], len(x)),
        "ess_trust": split["trust_weighted"]["ess_fraction"],
        "mean_ratio": _known(mean_ratio, x, part.runs) or (None, None),
        "kl": mean_with_error(Computed(np.negative, x), part.runs),
        "chi2": None if mean_square is None else mean_square - 1,
        "abs_log_ratio_p95": quantile(Computed(np.abs, x), [0.95])[0],
        "ppo_dead_fraction": split["ppo_dead_fraction"],
        "suppressed_fraction": split["suppressed_fraction"],
    }


def _surrogate(part: Weights, bound: float | None) -> Bounds | None:
    """None where the objective's weights have no bound."""
    if bound is None:
        return None
    return surrogate_bounds(part.trust_weighted, part.advantage, part.runs, bound)


def _histogram(weights: Weights) -> dict[str, list[float]]:
    columns = {"log_ratio": weights.log_ratio, "raw": weights.raw, "trust_weighted": weights.trust_weighted}
    edges = shared_edges(list(columns.values()), BINS)
    return {"edges": edges.tolist(), **{name: counts(column, edges).tolist() for name, column in columns.items()}}


def _log(weight: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(divide="ignore"):  # a weight of 0 is a log weight of -inf, which the statistics expect
        return np.log(weight)


def _saturated_ratio(log_ratio: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.exp(np.minimum(log_ratio, LARGEST_SHOWN))


def _positive(value: NDArray[np.float64]) -> NDArray[np.bool_]:
    return value > 0


def _negative(value: NDArray[np.float64]) -> NDArray[np.bool_]:
    return value < 0


def _twice(value: NDArray[np.float64]) -> NDArray[np.float64]:
    return 2 * value


def _known(statistic: Callable[..., Any], *given: Any) -> Any:
    """A statistic, or None where it says that it cannot be known."""
    try:
        return statistic(*given)
    except ValueError:
        return None
