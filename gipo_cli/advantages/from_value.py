"""Advantages that are a return less V(s): V in rounds, the difference, and what of it other episodes bear out."""

from collections.abc import Callable

import torch
from torch import Tensor

from gipo_cli.advantages import Estimate, Task
from gipo_cli.advantages.centring import centring, target_of
from gipo_cli.advantages.explained import path_returns, scored, squared_gaps
from gipo_cli.advantages.regression import rows_of
from gipo_cli.advantages.smoothing import smoothed
from gipo_cli.advantages.standardised import Standardised
from gipo_cli.advantages.traces import along_episodes, lambda_returns
from gipo_cli.advantages.value import Values, fit_value
from gipo_cli.policies.policy import Policy
from gipo_cli.training.columns import joined, mean_and_std
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
    features, rows = Standardised(samples), rows_of(samples, generator(seed, ROWS))
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
    middle, _ = mean_and_std(noisy[0], samples.held_in_rows)
    mixed = (smooth * found.centred[0, rows] + (1 - smooth) * (noisy[0, rows] - middle) for rows in samples.every_row())
    explaining = (found.centred[0, rows] - found.usual[0, rows] for rows in samples.every_row())
    count = len(samples.reward)
    return score(samples, values, joined(count, mixed), joined(count, explaining), task.discount)


def td(task: Task, decay: float) -> Callable[[Values], Tensor]:
    """Targets of a value function: the TD(lambda) returns of the values as they are, [1, N]."""

    def of(values: Values) -> Tensor:
        def returns(rows: slice) -> Tensor:
            return lambda_returns(task.samples, values.after, task.discount, decay, rows)

        return along_episodes(task.samples, returns)

    return of


def td_less_value(task: Task, decay: float) -> Callable[[Values], Tensor]:
    """Raw advantages: TD(lambda) returns less V, which is GAE(lambda), [1, N]."""

    def of(values: Values) -> Tensor:
        def gaps(rows: slice) -> Tensor:
            returns = lambda_returns(task.samples, values.after, task.discount, decay, rows)
            return returns - values.now[:, rows]

        return along_episodes(task.samples, gaps)

    return of


def score(samples: Samples, values: Values, advantage: Tensor, explaining: Tensor, discount: float) -> Estimate:
    """The estimate of advantages [N], scored by those that explain [N] against the mean V of the members."""
    now, after = (_mean_of_members(part, samples) for part in (values.now, values.after))
    squares = squared_gaps(
        samples,
        lambda rows: now[rows],
        lambda rows: explaining[rows],
        lambda rows, what: path_returns(samples, rows, what, discount, lambda ends: after[ends]),
    )
    return scored(samples, torch.as_tensor(advantage), squares)


def _mean_of_members(column: Tensor, samples: Samples) -> Tensor:
    """Mean over K of [K, N], [N]."""
    if len(column) == 1:
        return column[0]
    return joined(len(samples.reward), (column[:, rows].mean(0) for rows in samples.every_row()))
