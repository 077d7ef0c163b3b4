"""V fitted to targets that lean on V itself, in rounds, until it no longer gets better."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from gipo_cli.advantages.networks import Networks, on_table
from gipo_cli.advantages.regression import Rows, regress
from gipo_cli.advantages.standardised import Standardised
from gipo_cli.advantages.traces import discounted_returns
from gipo_cli.training.columns import joined, mean_and_std, taken
from gipo_cli.training.order import generator
from gipo_cli.training.samples import Samples

ROUNDS = 8  # at most, after the first
FIRST_ROUND = 0.4  # share of the updates
PATIENCE = 2  # rounds in a row without progress that end the fit
WEIGHTS = 23  # purpose of random numbers


@dataclass(frozen=True)
class Values:
    """V of K members, on every row of the log, in units of reward."""

    now: Tensor  # V(s_t), [K, N]
    after: Tensor  # V(s_{t+1}), [K, N]; 0 after a terminated step


def fit_value(
    samples: Samples,
    features: Standardised,
    rows: Rows,
    targets: Callable[[Values], Tensor],
    *,
    discount: float,
    updates: int,
    seed: int,
    advance: Callable[..., None],
    members: int = 1,
    weight: Callable[[Tensor], Tensor] | None = None,
    tolerance: float | None = 0.01,
) -> Values:
    """Regress V on discounted returns, then, round after round, on targets made from the V of the round before.

    A round ends with targets made anew and the error of V against them on episodes that it does not learn from. When
    that error has not fallen by `tolerance` of itself two rounds running, or after ROUNDS, V is done.

    The mistake to avoid: beginning the rounds at V = 0. TD(lambda) targets look 1 / (1 - gamma lambda) steps ahead, so
    with gamma 0.997 and lambda 0.8 hundreds of rounds would carry a reward back to where it was earned, and each round
    would look converged. Discounted returns are right, if noisy, from the first round on; the rounds take out noise
    and the guess of what cut episodes would have earned. That guess leaves at 1 / (1 - gamma lambda) steps a round: a
    log whose episodes are all cut after a few steps wants a lambda near 1.

    Args:
        samples: the log.
        features: of its observations.
        rows: that are learned from, and that judge.
        targets: of the values as they are, [K, N], what V is regressed on next.
        discount: gamma.
        updates: gradient steps in all; those of rounds that were not needed are not made.
        seed: of the networks.
        advance: told of each update.
        members: K, networks side by side.
        weight: rows [B] -> how often each counts for each member, [K, B]; once where none.
        tolerance: share of the error; none makes every round, for targets whose noise hides their progress.
    """
    start = discounted_returns(samples, discount)
    mean, spread = mean_and_std(start, samples.held_in_rows)
    std = spread + 1e-6
    networks = Networks(members, features.size, 1, generator(seed, WEIGHTS)).to(samples.device)
    goal = start.expand(members, -1)

    def errors(fitted: nn.Module, batch: Tensor) -> Tensor:
        return (fitted(features[batch])[..., 0] - (taken(goal, batch, axis=1) - mean) / std).square()

    least, stalled, number = float("inf"), 0, 0
    first = max(1, round(FIRST_ROUND * updates))
    done, later = 0, max(1, (updates - first) // ROUNDS)
    while True:
        steps = min(later if number else first, updates - done)
        regress(networks, errors, rows, steps, advance, weight)
        done += steps
        found = values_of(networks, features, std, mean)
        goal = targets(found).float()
        gap = taken(goal, rows.judging, axis=1) - taken(found.now, rows.judging, axis=1)
        error = gap.square().mean().item()
        progressed = tolerance is None or error < (1 - tolerance) * least
        stalled = 0 if progressed else stalled + 1
        least = min(least, error)
        if stalled == PATIENCE or number == ROUNDS or done == updates:
            break
        number += 1
    advance(updates - done)
    return found


def values_of(networks: nn.Module, features: Standardised, scale: Tensor, shift: Tensor | float = 0.0) -> Values:
    """Scale times the first output plus shift, as V of every row and of the observation after it."""
    samples, table = features.samples, on_table(networks, features, scale, shift)
    after = (
        table[:, features.place_after(rows)].masked_fill(samples.terminated[rows], 0) for rows in samples.every_row()
    )
    count = len(samples.reward)
    return Values(table[:, :count], joined(count, after, axis=1))
