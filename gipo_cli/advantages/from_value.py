"""Advantages that are a return less V(s): V in rounds, the difference, and what of it other episodes bear out."""

from collections.abc import Callable

import torch
from torch import Tensor

from gipo_cli.advantages import Estimate, Task
from gipo_cli.advantages.centring import centring, target_of
from gipo_cli.advantages.explained import path_returns, scored, squared_gaps
from gipo_cli.advantages.networks import standardised
from gipo_cli.advantages.regression import rows_of
from gipo_cli.advantages.smoothing import smoothed
from gipo_cli.advantages.value import Values, fit_value
from gipo_cli.policies.policy import Policy
from gipo_cli.training.order import generator
from gipo_cli.training.samples import Samples

VALUE_SHARE = 0.6  # of the updates; the rest smooth
ROWS = 25  # purpose of random numbers


def from_value(
    task: Task,
    targets: Callable[[Values], Tensor],
    raw: Callable[[Values], Tensor],
    *,
    smooth: float,
    tolerance: float | None = 0.01,
    valued: Policy | None = None,
) -> Estimate:
    """Fit V to its targets, take the raw advantages, and smooth them.

        A = smooth * A(s, a) + (1 - smooth) * (A* - mean of A*)

    A(s, a) is centred under beta in every state. Of the raw A* the mean over the held-in rows alone is removed, and
    what of it depends on the state stays in.

    The score is always that of A(s, a), which is made with smooth = 0 too: raw advantages of held-out paths hold those
    paths' own rewards, and would explain them without having foreseen anything.

    Args:
        task: what every estimator is given.
        targets: what V is regressed on, from the V of the round before, [1, N].
        raw: noisy advantages from the V that came out, [1, N].
        smooth: 0 to 1.
        tolerance: of the value's rounds.
        valued: the policy whose values V are, if not beta: paths add up with advantages centred under that one.
    """
    samples, beta, updates, seed = task.samples, task.beta, task.updates, task.seed
    features, rows = standardised(samples), rows_of(samples, generator(seed, ROWS))
    for_value = max(1, round(VALUE_SHARE * updates))
    with task.progress("advantages", updates) as advance:
        values = fit_value(
            samples, features, rows, targets,
            discount=task.discount, updates=for_value, seed=seed, advance=advance, tolerance=tolerance,
        )  # fmt: skip
        noisy = raw(values).float()
        found = smoothed(
            samples, features, rows, centring(beta, samples), noisy,
            updates=updates - for_value, seed=seed, advance=advance,
            target=None if valued is None else target_of(valued, beta, samples),
        )  # fmt: skip
    noisy = noisy - noisy[:, samples.held_in_rows].mean()
    advantage = smooth * found.centred + (1 - smooth) * noisy
    return score(samples, values, advantage[0], (found.centred - found.usual)[0], task.discount)


def score(samples: Samples, values: Values, advantage: Tensor, explaining: Tensor, discount: float) -> Estimate:
    """The estimate of advantages [N], scored by those that explain [N] against the mean V of the members."""
    now, after = values.now.mean(0), values.after.mean(0)
    squares = squared_gaps(
        samples,
        lambda rows: now[rows],
        lambda rows: explaining[rows],
        lambda rows, what: path_returns(samples, rows, what, discount, lambda ends: after[ends]),
    )
    return scored(samples, torch.as_tensor(advantage), squares)
