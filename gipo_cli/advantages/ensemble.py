"""Advantages that several fits, each to other episodes, agree on."""

from collections.abc import Callable
from typing import Annotated

import numpy as np
import torch
from torch import Tensor

from gipo_cli.advantages import Estimate, Task
from gipo_cli.advantages.centring import centring
from gipo_cli.advantages.from_value import VALUE_SHARE, score, td, td_less_value
from gipo_cli.advantages.regression import BATCH, rows_of
from gipo_cli.advantages.smoothing import smoothed
from gipo_cli.advantages.standardised import Standardised
from gipo_cli.advantages.value import fit_value
from gipo_cli.settings import Expected, Fraction
from gipo_cli.training.columns import joined, taken
from gipo_cli.training.order import generator
from gipo_cli.training.samples import Samples

ROWS, EPISODES = 26, 27  # purposes of random numbers
Members = Annotated[float, Expected("a whole number from 2 to 50", lambda value: value in range(2, 51))]
NotNegative = Annotated[float, Expected("a number of 0 or above", lambda value: value >= 0)]


def estimate(
    task: Task,
    *,
    members: Members = 5.0,
    confidence: NotNegative = 1.0,
    ensemble_lambda: Fraction = 0.8,
) -> Estimate:
    """Several smoothed `td-lambda` fits; an advantage shrinks by how much they differ about it, and no further than 0.

        A = sign(mean) max(|mean| - confidence * sd, 0)

    Mean and standard deviation are over members, which start from weights of their own and learn from episodes drawn
    with replacement, so sd is how far the fit depends on the episodes that happened to be logged. The networks lie
    side by side and share small batches.

    Why not mean - confidence * sd, the lower bound of a value? A policy is not the value: it gains by moving towards
    good actions and away from bad ones, and what is gained by moving is |A|; its lower bound is the formula above. The
    other one calls every unknown action bad. sd is least at beta's usual action and grows with |z| on both sides, so
    it would narrow any policy and push it off samples of which nothing is known, and its mean under beta is below 0 in
    every state. Here what is not known teaches nothing, and the policy stays.

    Centred: each member is, exactly, under beta (see smoothing), and so is A where advantages of a state have one
    degree of freedom (two choices; one dimension of action, where they are linear in the noise). Elsewhere shrinking
    leaves a mean of the order of sd. The mean over the log is not removed: it would move the zeros.

    The values are those of beta: policy and improvement_kl are not looked at.

    Source: bootstrapped value functions, Osband et al. 2016 (arXiv:1602.04621); soft thresholding of A is ours.

    Settings:
        members: number of fits, 2 to 50.
        confidence: standard deviations that an advantage shrinks by, 0 or above.
        ensemble_lambda: decay of the returns, 0 to 1.
    """
    samples, beta, discount, updates, seed = task.samples, task.beta, task.discount, task.updates, task.seed
    count = int(members)
    batch = max(1, BATCH // count)
    features, rows = Standardised(samples), rows_of(samples, generator(seed, ROWS), batch)
    weight = _drawn_episodes(samples, count, seed)
    for_value = max(1, round(VALUE_SHARE * updates))
    with task.progress("advantages", updates) as advance:
        values = fit_value(
            samples, features, rows, td(task, ensemble_lambda),
            discount=discount, updates=for_value, seed=seed, advance=advance, members=count, weight=weight,
        )  # fmt: skip
        found = smoothed(
            samples, features, rows, centring(beta, samples), td_less_value(task, ensemble_lambda)(values),
            updates=updates - for_value, seed=seed, advance=advance, weight=weight,
        )  # fmt: skip
    agreeing = (agreed(found.centred[:, rows], confidence) for rows in samples.every_row())
    advantage = joined(len(samples.reward), agreeing)
    return score(samples, values, advantage, advantage, discount)


def agreed(advantages: Tensor, confidence: float) -> Tensor:
    """sign(mean) max(|mean| - confidence * sd, 0) over the members of [K, N], [N]."""
    mean, deviation = advantages.mean(0), advantages.std(0)
    return mean.sign() * (mean.abs() - confidence * deviation).clamp_min(0)


def _drawn_episodes(samples: Samples, members: int, seed: int) -> Callable[[Tensor], Tensor]:
    """How often the episodes of some rows [B] were drawn for each member, [K, B]: as many draws as episodes."""
    episodes = len(samples.final_observation)
    draw, chance = np.random.default_rng((seed, EPISODES)), np.full(episodes, 1 / episodes)
    draws = (draw.multinomial(episodes, chance, size=1) for _ in range(members))
    often = joined(members, (torch.as_tensor(each, dtype=torch.float32, device=samples.device) for each in draws))
    return lambda rows: taken(often, taken(samples.episode, rows), axis=1)
