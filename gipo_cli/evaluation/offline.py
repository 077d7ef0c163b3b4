"""What a run's policy is worth by the log alone: every estimator, and a verdict with an interval."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from gipo_cli.data.trajectories import ActionSpace
from gipo_cli.errors import DataError
from gipo_cli.evaluation.estimators import Estimator, Statistic
from gipo_cli.evaluation.evidence import Fold, Gathered, Progress, gather
from gipo_cli.evaluation.intervals import of_counts, of_mean
from gipo_cli.evaluation.refusals import Support, support, worth
from gipo_cli.policies.policy import Policy
from gipo_cli.registry import ESTIMATORS
from gipo_cli.training.samples import Samples

LEVEL = 0.95
JUDGE, WITNESS = "drl", "fqe"  # whose interval decides, and who has to agree on the side
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


def own_folds(samples: Samples) -> list[Fold]:
    """For the log that the policy was trained on: held-in episodes teach, and held-out ones answer.

    Only rows of the version that training started from, where several policies acted.
    """
    home = samples.home
    return [(samples.held_in_rows[home[samples.held_in_rows]], samples.held_out_rows[home[samples.held_out_rows]])]


def crossed_folds(samples: Samples) -> list[Fold]:
    """For a log that trained nothing: each half of the episodes answers with what the other half taught."""
    rows = torch.arange(len(samples.reward), device=samples.device)
    odd = samples.episode % 2 == 1
    return [(rows[odd], rows[~odd]), (rows[~odd], rows[odd])]


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
            raise DataError("there are too few episodes to learn on some and to estimate on others.")
    found = gather(
        question.policy, question.samples, question.space, question.folds, question.discount, progress, **sizes
    )
    carried, level = support(found.evidence), question.level
    estimates = {name: _estimate(ESTIMATORS.load(name), found, carried, level) for name in ESTIMATORS.places}
    behaviour = of_mean(found.evidence.behaviour_returns, level)
    verdict, reason = decide(estimates, carried)
    judged = estimates[JUDGE]
    return {
        "level": level,
        "discount": question.discount,
        "episodes": carried.episodes,
        "transitions": carried.transitions,
        "verdict": verdict,
        "reason": reason,
        "value": judged["value"],
        "behaviour": behaviour,
        "gain": judged["gain"],
        "members": found.members.tolist(),
        "support": {name: value for name, value in asdict(carried).items() if name not in ("episodes", "transitions")},
        "estimators": estimates,
    }


def decide(estimates: dict[str, dict[str, Any]], carried: Support) -> tuple[str, str]:
    """Better, not better, or cannot be known, and why.

    Better where the judge's interval of the gain lies above 0 and the witness's estimate does, too; not better where
    both lie below; else it cannot be known.
    """
    judged, witness = estimates[JUDGE], estimates[WITNESS]
    if judged["refused"]:
        return "cannot be known", judged["refused"]
    lower, upper = judged["gain"]["lower"], judged["gain"]["upper"]
    if lower is None:
        return "cannot be known", "the estimate has no interval"
    if lower <= 0 <= upper:
        return "cannot be known", "the interval of the gain holds 0"
    side = 1 if lower > 0 else -1
    if side * (witness["gain"]["mean"] or 0.0) <= 0:
        return "cannot be known", f"{WITNESS} is on the other side of 0 than {JUDGE}"
    word, where = ("better", "above") if side > 0 else ("not better", "below")
    heavy = worth(carried.marginal_pareto_k, carried.transitions)
    return word, f"the interval of the gain is {where} 0" + (f"; but {heavy}" if heavy else "")


def _estimate(estimator: Estimator, found: Gathered, carried: Support, level: float) -> dict[str, Any]:
    """Value and gain over the behaviour policy with their intervals, or why there are none."""
    rests_on = vars(estimator)["rests_on"]
    nothing: Interval = {"mean": None, "lower": None, "upper": None}
    refused = carried.refuses(rests_on)
    if refused:
        return {"value": nothing, "gain": nothing, "interval": None, "refused": refused}
    statistic, evidence = estimator(found.evidence), found.evidence
    returns = evidence.behaviour_returns
    other = 0.0
    if statistic.per_episode is not None:
        if rests_on in ("values", "marginal weights") and len(found.members) > 1:
            other = float(found.members.std(ddof=1) / len(found.members) ** 0.5)
        value = of_mean(statistic.per_episode, level, other)
        gain = of_mean(statistic.per_episode - returns, level, other)
        kind = "Student's t over episodes"
    else:
        value = of_counts(statistic.of_counts, len(returns), level)
        gain = of_counts(over(statistic, returns), len(returns), level)
        kind = "BCa bootstrap of episodes"
    if value["mean"] is None:
        return {"value": nothing, "gain": nothing, "interval": None, "refused": "its weights are beyond float64"}
    return {"value": value, "gain": gain, "interval": kind, "refused": None}


def over(statistic: Statistic, returns: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """An estimate less the mean of the returns of the very same episodes, as a function of counts."""
    return lambda counts: statistic.of_counts(counts) - counts @ returns / counts.sum(-1)
