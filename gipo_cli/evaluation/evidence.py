"""From a policy and a log to what estimators are given: Q, V and marginal weights, each learned on other episodes."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from functools import partial

import numpy as np
import torch
from torch import Tensor

from gipo_cli.advantages.standardised import Standardised
from gipo_cli.data.cache import scratch
from gipo_cli.data.resident import trim
from gipo_cli.data.trajectories import ActionSpace, stretches
from gipo_cli.evaluation.estimators import Evidence
from gipo_cli.evaluation.fitted import Fitted, Problem, evenly, fit, of_behaviour, slices, starts_among, traced
from gipo_cli.evaluation.inputs import Inputs, of_actions
from gipo_cli.policies.policy import Policy
from gipo_cli.training.columns import LARGE, taken
from gipo_cli.training.order import generator
from gipo_cli.training.samples import Samples

MEMBERS = 2  # of the ensemble
UPDATES = 4000  # of each kind of network
TRACE = 0.95  # lambda of Retrace: how far errors are traced back along an episode
LARGEST_LOG_RATIO = 20.0  # nats; what is learned takes a ratio of 5e8 for any beyond, estimators see it as it is
DRAWS = 43  # purpose of random numbers

Progress = Callable[[str, int], AbstractContextManager[Callable[..., None]]]
Fold = tuple[Tensor, Tensor]  # rows that are learned from, rows that are estimated on: whole episodes, in order


@dataclass(frozen=True)
class Gathered:
    """Evidence, and the value of the starts by each member of the ensemble."""

    evidence: Evidence
    members: np.ndarray  # [K]


def gather(
    policy: Policy,
    samples: Samples,
    space: ActionSpace,
    folds: list[Fold],
    discount: float,
    progress: Progress,
    *,
    members: int = MEMBERS,
    updates: int = UPDATES,
    seed: int = 0,
) -> Gathered:
    """Learn on some episodes of the log what estimates on the others need.

    Args:
        policy: that is evaluated.
        samples: the log.
        space: of its actions.
        folds: who learns and who is estimated on; no episode is estimated on twice.
        discount: gamma.
        progress: named phases with their length.
        members: K, networks side by side.
        updates: of each kind of network.
        seed: of the networks, their batches and the policy's draws.
    """
    ratios = Ratios(samples, _log_ratio(policy, samples), discount)
    features = Standardised(samples)
    states = Inputs(features)
    actions = of_actions(samples, features, space, policy, generator(seed, DRAWS))
    columns, end, by_member = _empty(sum(len(estimated) for _, estimated in folds)), 0, []
    with progress("values of the policy", 2 * updates * len(folds)) as advance:
        for learned, estimated in folds:
            sizes = (discount, members, updates, seed)
            of_state = Problem(samples, states, learned, ratios.ratio, ratios.before, *sizes)
            of_action = Problem(samples, actions, learned, evenly, ratios.along, *sizes)
            visits, quality = fit(of_state, advance), fit(of_action, advance)
            behaviour = of_behaviour(visits, of_state, ratios.fading)
            places = starts_among(samples, estimated)
            here = {name: column[end : end + len(estimated)] for name, column in columns.items()}
            _learn(here, ratios, quality, visits, behaviour, estimated)
            _weigh(here["marginal_weight"], ratios, estimated, places.cpu().numpy())
            starts = taken(estimated, places)
            by_member.append(sum(_array(quality.value(rows)).sum(-1) for rows in slices(starts)))
            end += len(estimated)
    evidence = Evidence(discount=discount, **columns)
    return Gathered(evidence, np.sum(by_member, 0) / len(evidence.starts))


@dataclass(frozen=True)
class Ratios:
    """The ratios of a policy to the log's, and how traces fade by them, at some rows of the log, each [B]."""

    samples: Samples
    log_ratio: Tensor  # [N]
    discount: float

    def ratio(self, rows: Tensor) -> Tensor:
        """Of each row; cut where no estimate is left to be spoiled."""
        return taken(self.log_ratio, rows).clamp(max=LARGEST_LOG_RATIO).exp()

    def fading(self, rows: Tensor) -> Tensor:
        """Of any trace without ratios: gamma lambda, and 0 at the start of an episode."""
        return self.discount * TRACE * (~taken(self.samples.episode_end, self._before(rows))).float()

    def along(self, rows: Tensor) -> Tensor:
        """Of a trace over states and actions: gamma lambda min(1, ratio)."""
        return self.fading(rows) * self.ratio(rows).clamp(max=1.0)

    def before(self, rows: Tensor) -> Tensor:
        """Of a trace over states: gamma lambda min(1, ratio of the row before)."""
        return self.fading(rows) * self.ratio(self._before(rows)).clamp(max=1.0)

    def _before(self, rows: Tensor) -> Tensor:
        """The row before each of some; before the first is the last, with which an episode ends, too."""
        return (rows - 1) % len(self.log_ratio)


@torch.no_grad()
def _log_ratio(policy: Policy, samples: Samples) -> Tensor:
    return samples.at_every_row(partial(samples.log_ratio, policy))


def _empty(rows: int) -> dict[str, np.ndarray]:
    """Columns of the evidence, to be filled."""
    numbers = [field.name for field in fields(Evidence) if field.name not in ("discount", "episode")]
    # In one table: apart, each of them might be in memory.
    episode, *table = np.asarray(scratch((1 + len(numbers), rows), np.dtype(np.float64)))
    return {"episode": episode.view(np.int64), **dict(zip(numbers, table, strict=True))}


def _learn(
    columns: dict[str, np.ndarray],
    ratios: Ratios,
    quality: Fitted,
    visits: Fitted,
    behaviour: Fitted,
    estimated: Tensor,
) -> None:
    """Fill columns of the evidence with the log and with means over the ensemble; phi' alpha for marginal weights."""
    samples, end = ratios.samples, 0
    for rows in slices(estimated):
        following, goes_on = quality.inputs.following(rows), ~samples.terminated[rows]
        found = {
            "episode": samples.episode[rows],
            "reward": samples.reward[rows],
            "log_ratio": ratios.log_ratio[rows],
            "quality": quality.of_logged(rows)[0].mean(0),
            "value": quality.value(rows).mean(0),
            "value_after": quality.value(following).mean(0) * goes_on,
            "state_value": visits.of_logged(rows)[0].mean(0),
            "state_value_after": visits.value(following).mean(0) * goes_on,
            "marginal_weight": visits.of_logged(rows)[1].mean(0),
            "behaviour_value_after": behaviour.value(following).mean(0) * goes_on,
        }
        for name, column in found.items():
            columns[name][end : end + len(rows)] = column.cpu().numpy()
        end += len(rows)


def _weigh(column: np.ndarray, ratios: Ratios, estimated: Tensor, starts: np.ndarray) -> None:
    """Turn phi' alpha of rows into marginal weights, traces along whole episodes times the row's ratio, in place."""
    ends = np.append(starts, len(estimated))
    for first, last in stretches(ends, LARGE):
        here = slice(int(ends[first]), int(ends[last]))
        rows, alpha = estimated[here], torch.from_numpy(column[here]).to(estimated.device)
        weight = traced(alpha[None, :, None], ratios.before(rows).double())[0, :, 0]
        column[here] = _array(weight * ratios.ratio(rows))
        trim()


def _array(column: Tensor) -> np.ndarray:
    return column.double().cpu().numpy()
