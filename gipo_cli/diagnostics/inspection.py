"""All statistics of one run's importance weights, split by split: the document that `gipo inspect-weights` prints."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gipo_cli.diagnostics.by_dimension import by_dimension
from gipo_cli.diagnostics.by_episode import by_episode
from gipo_cli.diagnostics.by_time import by_time
from gipo_cli.diagnostics.by_version import by_version, old_share
from gipo_cli.diagnostics.clipping import outside_clip_fraction, ppo_dead_fraction
from gipo_cli.diagnostics.concentration import Bounds, surrogate_bounds
from gipo_cli.diagnostics.ess import ess
from gipo_cli.diagnostics.histogram import counts, shared_edges
from gipo_cli.diagnostics.horizon import degeneracy
from gipo_cli.diagnostics.kl import kl_k1, kl_k3
from gipo_cli.diagnostics.mean_ratio import mean_ratio, mean_with_error
from gipo_cli.diagnostics.moments import QUANTILES, quantiles, weight_moments, weight_quantiles
from gipo_cli.diagnostics.pareto_k import pareto_k
from gipo_cli.diagnostics.second_moment import second_moment
from gipo_cli.diagnostics.sigma_curve import sigma_curve
from gipo_cli.diagnostics.suppression import suppressed_fraction
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

BINS = 60
LARGEST_SHOWN = 20.0  # nats; a ratio of 5e8 and anything beyond share the last bin of a histogram

Rows = NDArray[np.bool_]


@dataclass(frozen=True)
class Weights:
    """What a run says of every logged step, each [N]; log_ratio in nats."""

    log_ratio: NDArray[np.float64]
    advantage: NDArray[np.float64]
    episode: NDArray[np.int64]
    held_out: Rows
    trust_weighted: NDArray[np.float64]  # the effective weight, see objectives.effective_weight
    parts: NDArray[np.float64] | None = None  # log ratio of each dimension of the action, [N, A], where known
    version: NDArray[np.int64] | None = None  # of the behaviour policy, where there are several

    def at(self, rows: Rows) -> "Weights":
        """The same columns at some of the rows."""
        columns = {name: column for name, column in vars(self).items() if column is not None}
        # np.compress is about six times as fast as column[rows].
        return replace(self, **{name: np.compress(rows, column, axis=0) for name, column in columns.items()})

    @property
    def raw(self) -> NDArray[np.float64]:
        """The importance ratio, [N]; saturated at 20 nats, so for showing and not for statistics."""
        return np.exp(np.minimum(self.log_ratio, LARGEST_SHOWN))


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
    horizon = degeneracy(weights.log_ratio, weights.episode)
    part, split = _judged_part(weights)
    surrogate = _surrogate(part, bound)
    curve = _known(sigma_curve, part.log_ratio, part.advantage, part.episode)
    episodes = by_episode(weights.log_ratio, weights.episode)
    found = [*findings(split, _judged(part)), *episodes_finding(episodes), horizon_finding(horizon)]
    found += bounds_finding(surrogate)
    found += [
        *sigma_finding(curve),
        *old_finding(versions["old"] if versions else None, stale_rows),
        *origin_finding(log_probs),
    ]
    return {
        "log_probs": log_probs,
        "splits": _splits(weights, bound),
        "horizon": asdict(horizon),
        "by_time": [asdict(stretch) for stretch in by_time(weights.log_ratio, weights.episode)],
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
    parts = {
        "held_in": ~weights.held_out,
        "held_out": weights.held_out,
        "positive_advantage": weights.advantage > 0,
        "negative_advantage": weights.advantage < 0,
    }
    found = {"all": statistics(*columns, bound=bound)}
    for name, rows in parts.items():
        found[name] = statistics(*(np.compress(rows, column) for column in columns), bound=bound)
    return found


def statistics(
    log_ratio: NDArray[np.float64],
    advantage: NDArray[np.float64],
    trust_weighted: NDArray[np.float64],
    bound: float | None = None,
) -> dict[str, Any]:
    """Every number of one split; None where a number cannot be known, so all of them where the split is empty.

    Args:
        log_ratio: in nats, [N].
        advantage: any unit, [N].
        trust_weighted: the effective weight, [N].
        bound: the largest weight that the objective can give; None where there is none, or nobody asks.
    """
    x, levels = log_ratio, _known(quantiles, log_ratio)
    return {
        "transitions": x.size,
        "raw": {
            **_weight_figures(x),
            "pareto_k": _known(pareto_k, x),
            "quantiles": weight_quantiles(levels) if levels else dict.fromkeys(QUANTILES),
        },
        "trust_weighted": {**_weight_figures(_log(trust_weighted)), "bound": bound},
        "kl": {"k1": _known(kl_k1, x), "k3": _known(kl_k3, x)},
        "log_ratio": {
            "mean": float(x.mean()) if x.size else None,
            "std": float(x.std()) if x.size else None,
            "second_moment": _known(second_moment, x),
            "quantiles": levels or dict.fromkeys(QUANTILES),
        },
        "ppo_dead_fraction": _known(ppo_dead_fraction, x, advantage),
        "outside_clip_fraction": _known(outside_clip_fraction, x),
        "suppressed_fraction": _known(suppressed_fraction, trust_weighted),
    }


def _weight_figures(log_weight: NDArray[np.float64]) -> dict[str, float | None]:
    effective = _known(ess, log_weight)
    moments = _known(weight_moments, log_weight) or dict.fromkeys(("mean", "std", "max"))
    return {**moments, "ess": effective, "ess_fraction": None if effective is None else effective / log_weight.size}


def _judged_part(weights: Weights) -> tuple[Weights, str]:
    """The steps that the findings speak of, and in words which they are: held out, or all where none are."""
    if weights.held_out.any():
        return weights.at(weights.held_out), "held-out transitions"
    return weights, "transitions (none was held out)"


def _judged(part: Weights) -> dict[str, Any]:
    """The figures that the findings are made of."""
    x = part.log_ratio
    mean_square = weight_moments(2 * x)["mean"]
    return {
        "ess_raw": _weight_figures(x)["ess_fraction"],
        "pareto_k": (_known(pareto_k, x), x.size),
        "ess_trust": _weight_figures(_log(part.trust_weighted))["ess_fraction"],
        "mean_ratio": _known(mean_ratio, x, part.episode) or (None, None),
        "kl": mean_with_error(-x, part.episode),
        "chi2": None if mean_square is None else mean_square - 1,
        "abs_log_ratio_p95": float(np.quantile(np.abs(x), 0.95)),
        "ppo_dead_fraction": ppo_dead_fraction(x, part.advantage),
        "suppressed_fraction": suppressed_fraction(part.trust_weighted),
    }


def _surrogate(part: Weights, bound: float | None) -> Bounds | None:
    """None where the objective's weights have no bound."""
    if bound is None:
        return None
    return surrogate_bounds(part.trust_weighted, part.advantage, part.episode, bound)


def _histogram(weights: Weights) -> dict[str, list[float]]:
    columns = {"log_ratio": weights.log_ratio, "raw": weights.raw, "trust_weighted": weights.trust_weighted}
    edges = shared_edges(list(columns.values()), BINS)
    return {"edges": edges.tolist(), **{name: counts(column, edges).tolist() for name, column in columns.items()}}


def _log(weight: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(divide="ignore"):  # a weight of 0 is a log weight of -inf, which the statistics expect
        return np.log(weight)


def _known(statistic: Callable[..., Any], *columns: NDArray[Any]) -> Any:
    """A statistic, or None where it says that it cannot be known."""
    try:
        return statistic(*columns)
    except ValueError:
        return None
