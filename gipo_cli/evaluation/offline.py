"""What a run's policy is worth by the log alone: every estimator, and a verdict with an interval."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gipo_cli.data.trajectories import ActionSpace
from gipo_cli.errors import DataError, SettingError, unknown_name
from gipo_cli.evaluation.estimators import Estimator, Statistic
from gipo_cli.evaluation.evidence import Fold, Gathered, Progress, gather
from gipo_cli.evaluation.intervals import of_counts, of_mean
from gipo_cli.evaluation.refusals import Support, support, worth
from gipo_cli.policies.policy import Policy
from gipo_cli.registry import ESTIMATORS
from gipo_cli.settings import resolve, settings_of
from gipo_cli.training.columns import joined, rows_that
from gipo_cli.training.samples import Samples

LEVEL = 0.95
BEYOND = "its weights are beyond float64, or no resample drew any"
JUDGES = ("drl", "fqe")  # one errs where weights are off, one where Q is: both have to be on the same side of 0
Interval = dict[str, float | None]


@dataclass(frozen=True)
class Question:
    """A policy, a log, and which of its episodes may answer."""

    policy: Policy
    samples: Samples
    space: ActionSpace
    folds: list[Fold]
    discount: float
    level: float = LEVEL
    settings: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # of estimators, by name
    start: Policy | None = None  # that training began at, where that is not the log's own


def settings_from(assignments: Iterable[str]) -> dict[str, dict[str, float]]:
    """Settings of estimators, by name, from NAME=VALUE.

    Raises:
        SettingError: no estimator has such a setting, or not such a value.
    """
    owners = {key: name for name in ESTIMATORS.places for key in settings_of(ESTIMATORS.load(name))}
    found: dict[str, dict[str, float]] = {}
    for assignment in assignments:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise SettingError(f"--set {assignment!r} has no value.", "Write --set NAME=VALUE, as in --set horizon=5.")
        if key not in owners:
            raise unknown_name("setting of an estimator", key, owners)
        name = owners[key]
        found[name] = resolve(ESTIMATORS.kind, name, ESTIMATORS.load(name), {key: value})
    return found


def own_folds(samples: Samples) -> list[Fold]:
    """For the log that the policy was trained on: held-in episodes teach, and held-out ones answer.

    Only episodes of the version that training started from, where several policies acted; one in which the version
    changes is of none.
    """
    elsewhere = torch.zeros(len(samples.final_observation), dtype=torch.bool, device=samples.device)
    for rows in samples.every_row():
        elsewhere[samples.episode[rows][~samples.home[rows]]] = True
    if not elsewhere.any():
        return [(samples.held_in_rows, samples.held_out_rows)]
    home = samples.at_every_row(lambda rows: ~elsewhere[samples.episode[rows]])
    return [(rows_that(samples.held_in_rows, home), rows_that(samples.held_out_rows, home))]


def crossed_folds(samples: Samples) -> list[Fold]:
    """For a log that trained nothing: each half of the episodes answers with what the other half taught."""
    odd, even = _every_second(samples, 1), _every_second(samples, 0)
    return [(odd, even), (even, odd)]


def _every_second(samples: Samples, first: int) -> Tensor:
    """Rows of every second episode."""

    def parts() -> Iterator[Tensor]:
        return (rows[samples.episode[rows] % 2 == first] for rows in samples.every_row())

    return joined(sum(map(len, parts())), parts())


def judge(question: Question, progress: Progress, **sizes: int) -> dict[str, Any]:
    """Estimate and decide.

    Args:
        question: what is asked.
        progress: named phases with their length.
        sizes: members, updates and seed of `gather`.

    Returns:
        The document under `offline`; every number None that cannot be known.
    """
    for learned, answering in question.folds:
        if not len(learned) or not len(answering):
            raise DataError(
                "there are too few whole episodes of one policy to learn on some and to estimate on others.",
                "Name a log of more episodes: --dataset LOG",
            )
    found = gather(
        question.policy, question.samples, question.space, question.folds, question.discount, progress, **sizes
    )
    carried, level = support(found.evidence), question.level
    over_start = None
    if question.start is not None:
        began = gather(
            question.start, question.samples, question.space, question.folds, question.discount, progress, **sizes
        )
        over_start = compare_with_start(found, began, level)
    estimates = {
        name: _estimate(ESTIMATORS.load(name), question.settings.get(name, {}), found, carried, level)
        for name in ESTIMATORS.places
    }
    behaviour = of_mean(found.evidence.behaviour_returns, level)
    value, gain = (together(estimates, which) for which in ("value", "gain"))
    verdict, reason = decide(estimates, gain, carried)
    return {
        "level": level,
        "discount": question.discount,
        "episodes": carried.episodes,
        "transitions": carried.transitions,
        "verdict": verdict,
        "reason": reason,
        "value": value,
        "behaviour": behaviour,
        "gain": gain,
        "over_start": over_start,
        "members": found.members.tolist(),
        "support": {name: value for name, value in asdict(carried).items() if name not in ("episodes", "transitions")},
        "estimators": estimates,
    }


def compare_with_start(found: Gathered, began: Gathered, level: float) -> dict[str, Any]:
    """The gain over the policy that training began at, episode by episode, and the same three words.

    Both policies are estimated on the same episodes of the log, so what they share cancels; where the log carries
    either of them too little, the gain of one over the other is not known.
    """
    carried = [support(each.evidence) for each in (found, began)]
    estimates = {}
    for name in JUDGES:
        estimator = ESTIMATORS.load(name)
        first, second = (estimator(each.evidence).per_episode for each in (found, began))
        assert first is not None and second is not None
        other = _spread(found.members - began.members)
        refused = next((each for each in (s.refuses(vars(estimator)["rests_on"]) for s in carried) if each), None)
        estimates[name] = {"gain": of_mean(first - second, level, other), "refused": refused}
    gain = together(estimates, "gain")
    heaviest = max(carried, key=lambda each: each.marginal_pareto_k or -np.inf)
    verdict, reason = decide(estimates, gain, heaviest)
    known = estimates[JUDGES[0]]["refused"] is None
    return {"verdict": verdict, "reason": reason, "gain": gain if known else dict.fromkeys(gain)}


def together(estimates: dict[str, dict[str, Any]], which: str) -> Interval:
    """What the judges say of the value or the gain: their mean, and an interval that holds both of theirs.

    Each of the two misses the truth in its own way, and more often than its level says; both at once less often, and
    where the log is short often still (examples/studies/offline-evaluation.md).
    """
    found = [estimates[name][which] for name in JUDGES]
    if any(each["lower"] is None for each in found):
        return {"mean": None, "lower": None, "upper": None}
    return {
        "mean": float(np.mean([each["mean"] for each in found])),
        "lower": min(each["lower"] for each in found),
        "upper": max(each["upper"] for each in found),
    }


def decide(estimates: dict[str, dict[str, Any]], gain: Interval, carried: Support) -> tuple[str, str]:
    """Better where the interval of the gain lies above 0, not better where it lies below, else unknown; and why."""
    refused = next((estimates[name]["refused"] for name in JUDGES if estimates[name]["refused"]), None)
    if refused:
        return "cannot be known", refused
    lower, upper = gain["lower"], gain["upper"]
    if lower is None or upper is None:
        return "cannot be known", "the estimates have no interval"
    if lower <= 0 <= upper:
        return "cannot be known", "the interval of the gain holds 0"
    word, where = ("better", "above") if lower > 0 else ("not better", "below")
    heavy = worth(carried.marginal_pareto_k, carried.transitions)
    return word, f"the intervals of {' and '.join(JUDGES)} are {where} 0" + (f"; but {heavy}" if heavy else "")


def _estimate(
    estimator: Estimator, settings: Mapping[str, float], found: Gathered, carried: Support, level: float
) -> dict[str, Any]:
    """Value and gain over the behaviour policy with their intervals, or why there are none."""
    rests_on = vars(estimator)["rests_on"]
    nothing: Interval = {"mean": None, "lower": None, "upper": None}
    refused = carried.refuses(rests_on)
    if refused:
        return {"value": nothing, "gain": nothing, "interval": None, "refused": refused}
    statistic, returns = estimator(found.evidence, **settings), found.evidence.behaviour_returns
    other = _spread(found.members) if rests_on in ("values", "marginal weights") else 0.0
    if statistic.per_episode is not None:
        value = of_mean(statistic.per_episode, level, other)
        gain = of_mean(statistic.per_episode - returns, level, other)
        kind = "Student's t over episodes"
    else:
        value = of_counts(statistic.of_counts, len(returns), level, other)
        gain = of_counts(over(statistic, returns), len(returns), level, other)
        kind = "BCa bootstrap of episodes"
    if value["mean"] is None or (statistic.per_episode is not None and value["lower"] is None):
        return {"value": nothing, "gain": nothing, "interval": None, "refused": BEYOND}
    return {"value": value, "gain": gain, "interval": kind, "refused": None}


def _spread(members: np.ndarray) -> float:
    """Standard error of the mean of one number for each member of the ensemble."""
    return float(members.std(ddof=1) / len(members) ** 0.5) if len(members) > 1 else 0.0


def over(statistic: Statistic, returns: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """An estimate less the mean of the returns of the very same episodes, as a function of counts."""
    return lambda counts: statistic.of_counts(counts) - counts @ returns / counts.sum(-1)
