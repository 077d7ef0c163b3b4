"""From a policy and a log to what estimators are given: Q, V and marginal weights, each learned on other episodes."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from gipo_cli.advantages.standardised import Standardised
from gipo_cli.data.trajectories import ActionSpace
from gipo_cli.diagnostics.episodes import starts_and_lengths
from gipo_cli.evaluation.estimators import Evidence
from gipo_cli.evaluation.fitted import SLICE, Fitted, Problem, fit, of_behaviour, traced
from gipo_cli.evaluation.inputs import of_actions, of_states
from gipo_cli.policies.policy import Policy
from gipo_cli.policies.slices import sliced
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
    every_row = torch.arange(len(samples.reward), device=samples.device)
    with torch.no_grad():
        log_ratio = sliced(partial(samples.log_ratio, policy), every_row)
    ratio = log_ratio.clamp(max=LARGEST_LOG_RATIO).exp()  # beyond, no estimate is left to be spoiled
    fading, capped = discount * TRACE * _inside(samples), ratio.clamp(max=1.0)
    along, before = fading * capped, fading * torch.cat([capped[:1], capped[:-1]])
    features = Standardised(samples)
    states, actions = of_states(features), of_actions(samples, features, space, policy, generator(seed, DRAWS))
    found, by_member = [], []
    with progress("values of the policy", 2 * updates * len(folds)) as advance:
        for learned, estimated in folds:
            sizes = (discount, members, updates, seed)
            of_state = Problem(samples, states, learned, ratio, before, *sizes)
            of_action = Problem(samples, actions, learned, torch.ones_like(ratio), along, *sizes)
            visits, quality = fit(of_state, advance), fit(of_action, advance)
            behaviour = of_behaviour(visits, of_state, fading)
            pieces = [_columns(samples, quality, visits, behaviour, rows) for rows in estimated.split(SLICE)]
            columns = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
            weight = traced(torch.from_numpy(columns.pop("alpha"))[None, :, None], before[estimated].double())[0, :, 0]
            columns["marginal_weight"] = _array(weight * ratio[estimated])
            found.append({"log_ratio": _array(log_ratio[estimated]), **columns})
            starts = estimated[torch.from_numpy(starts_and_lengths(columns["episode"])[0]).to(estimated.device)]
            by_member.append(sum(_array(quality.value(rows)).sum(-1) for rows in starts.split(SLICE)))
    merged = {name: np.concatenate([part[name] for part in found]) for name in found[0]}
    evidence = Evidence(discount=discount, **merged)
    return Gathered(evidence, np.sum(by_member, 0) / len(evidence.starts))


def _columns(
    samples: Samples, quality: Fitted, visits: Fitted, behaviour: Fitted, rows: Tensor
) -> dict[str, np.ndarray]:
    """Columns of the evidence at some rows, means over the ensemble."""
    following, goes_on = quality.inputs.following[rows], ~samples.terminated[rows]
    columns = {
        "reward": samples.reward[rows],
        "quality": quality.of_logged(rows)[0].mean(0),
        "value": quality.value(rows).mean(0),
        "value_after": quality.value(following).mean(0) * goes_on,
        "state_value": visits.of_logged(rows)[0].mean(0),
        "state_value_after": visits.value(following).mean(0) * goes_on,
        "alpha": visits.of_logged(rows)[1].mean(0),
        "behaviour_value_after": behaviour.value(following).mean(0) * goes_on,
    }
    return {"episode": samples.episode[rows].cpu().numpy(), **{name: _array(c) for name, c in columns.items()}}


def _inside(samples: Samples) -> Tensor:
    """1 where the row before is of the same episode, [N]."""
    ends = samples.episode_end
    return (~torch.cat([torch.ones_like(ends[:1]), ends[:-1]])).float()


def _array(column: Tensor) -> np.ndarray:
    return column.double().cpu().numpy()
