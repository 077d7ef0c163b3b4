"""Features learned for one policy, and the fixed point in them: Q, V and marginal weights on any row of the log."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from gipo_cli.advantages.networks import Networks
from gipo_cli.advantages.regression import LARGEST_GRADIENT, LEARNING_RATE
from gipo_cli.advantages.traces import discounted_returns_of
from gipo_cli.data.resident import trim
from gipo_cli.evaluation.inputs import Inputs
from gipo_cli.evaluation.temporal_differences import Sums, solve, sums
from gipo_cli.policies.likelihood import descend
from gipo_cli.training.columns import CHUNK, chunks, joined, mean_and_std, taken
from gipo_cli.training.order import generator
from gipo_cli.training.samples import Samples

SLICE = 2048  # rows passed through at a time
PARTS = (3, 10, 30)  # features tell returns over the whole horizon, and over a third, a tenth and a thirtieth of it
FIRST = 0.5  # share of the updates, for the behaviour policy's own returns
ROUNDS = 2  # each fits the features to what their fixed point makes of the policy's returns
BATCH = 512
LARGEST_WEIGHT = 10.0  # of a row while features are learned; the fixed point has the ratios as they are
ORDER, WEIGHTS = 41, 42  # purposes of random numbers

OfRows = Callable[[Tensor], Tensor]  # a number for each of some rows of the log, [B]


@dataclass(frozen=True)
class Problem:
    """A policy's value on some rows of a log, to be fitted."""

    samples: Samples
    inputs: Inputs
    rows: Tensor  # of whole episodes in order, learned from
    weight: OfRows  # 1, or the ratio where inputs are of states
    fading: OfRows  # of the trace from the row before; 0 at the start of an episode
    discount: float
    members: int  # K
    updates: int
    seed: int

    @cached_property
    def starts(self) -> Tensor:
        """First rows of the episodes that are learned from."""
        return taken(self.rows, starts_among(self.samples, self.rows))

    @property
    def discounts(self) -> list[float]:
        """The discounts whose returns the features have to tell; the problem's own is the first."""
        episodes = len(self.starts)
        horizon = min(1 / max(1 - self.discount, 1e-9), 2 * len(self.rows) / episodes)
        return [self.discount, *(max(0.0, 1 - part / max(horizon, part)) for part in PARTS)]

    def bounds(self, discount: float) -> tuple[float, float]:
        """The least and the most that a policy can earn, if it is paid no less and no more a step than the log was.

        A fixed point far from the log may lie anywhere; no value does. Rewards end where an episode can terminate.
        """
        low, high = self._paid
        steps = 1 / max(1 - discount, 1e-9)
        return low * steps, high * steps

    @cached_property
    def _paid(self) -> tuple[float, float]:
        """The least and the most that a step was paid; an end that is possible pays 0 from then on."""
        paid = [chunk.aminmax() for chunk in chunks(self.samples.reward)]
        low, high = min(least.item() for least, _ in paid), max(most.item() for _, most in paid)
        ends = any(bool(chunk.any()) for chunk in chunks(self.samples.terminated))
        return (min(low, 0.0), max(high, 0.0)) if ends else (low, high)


@dataclass(frozen=True)
class Fitted:
    """The fixed point in the features of K networks."""

    networks: Networks
    inputs: Inputs
    theta: Tensor  # [K, D]
    alpha: Tensor  # [K, D]; w is the trace of phi' alpha, times the row's weight
    bounds: tuple[float, float]  # of what any policy can earn

    @torch.no_grad()
    def of_logged(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Q (of states: V) of logged rows, and phi' alpha, each [K, B]."""
        features = _hidden(self.networks, self.inputs.logged(rows))
        return _times(features, self.theta).clamp(*self.bounds), _times(features, self.alpha)

    @torch.no_grad()
    def value(self, places: Tensor) -> Tensor:
        """V at places of the table, [K, B]."""
        return _times(_expected(self.networks, self.inputs, places), self.theta).clamp(*self.bounds)


def fit(problem: Problem, advance: Callable[..., None]) -> Fitted:
    """Learn features and solve for the fixed point in them.

    Features first tell the behaviour policy's returns over several horizons. Then, twice, they are fitted to the reward
    and to what their fixed point makes of the policy's own returns, one step on: targets without the noise of returns.
    What they cannot tell of the policy's value stays an error.

    Args:
        problem: what is fitted.
        advance: told of each update.
    """
    drawn, discounts = generator(problem.seed, WEIGHTS), problem.discounts
    networks = Networks(problem.members, problem.inputs.width, 1 + len(discounts), drawn).to(problem.samples.device)
    order = generator(problem.seed, ORDER)
    first = max(1, round(FIRST * problem.updates))
    later = max(1, (problem.updates - first) // ROUNDS)

    def capped(rows: Tensor) -> Tensor:
        return problem.weight(rows).clamp(max=LARGEST_WEIGHT)

    _regress(networks, problem, order, _returns(problem, discounts), evenly, first, advance)
    for _ in range(ROUNDS):
        _regress(networks, problem, order, _one_step_on(networks, problem, discounts), capped, later, advance)
    return fixed_point(networks, problem)


def of_behaviour(fitted: Fitted, problem: Problem, fading: OfRows) -> Fitted:
    """V of the behaviour policy in the features of a fit whose inputs are of states alone."""
    return fixed_point(fitted.networks, replace(problem, weight=evenly, fading=fading))


def evenly(rows: Tensor) -> Tensor:
    """1 for each row."""
    return torch.ones(rows.shape, device=rows.device)


def starts_among(samples: Samples, rows: Tensor) -> Tensor:
    """Where among some rows, of whole episodes, each episode begins, [E]."""
    found, passed = [], 0
    for chunk in chunks(rows):
        found.append(passed + samples.episode_end[chunk - 1].nonzero()[:, 0])  # before row 0 is the last, an end
        passed += len(chunk)
    return torch.cat(found)


def slices(rows: Tensor) -> Iterator[Tensor]:
    """Rows, or places of the table, as many at a time as pass through networks together; trimmed now and then."""
    for chunk in chunks(rows):
        yield from chunk.split(SLICE)


@torch.no_grad()
def fixed_point(networks: Networks, problem: Problem) -> Fitted:
    """Solve in features as they are."""
    theta, alpha = solve(*_system(networks, problem), problem.discount)
    return Fitted(networks, problem.inputs, theta, alpha, problem.bounds(problem.discount))


def _system(networks: Networks, problem: Problem) -> tuple[Sums, Tensor]:
    """The sums of the linear system over the rows that are learned from, and of the features of their starts."""
    samples, inputs = problem.samples, problem.inputs
    start = sum(_expected(networks, inputs, places).double().sum(1) for places in slices(problem.starts))
    total = None
    trace = None
    for rows in slices(problem.rows):
        now = _hidden(networks, inputs.logged(rows))
        after = _expected(networks, inputs, inputs.following(rows)) * (~samples.terminated[rows])[:, None]
        trace = traced(now, problem.fading(rows), None if trace is None else trace[:, -1])
        found = sums(trace * problem.weight(rows)[:, None], now, after, samples.reward[rows])
        total = found if total is None else total + found
    assert isinstance(total, Sums) and isinstance(start, Tensor)
    return total, start


def _returns(problem: Problem, discounts: list[float]) -> Tensor:
    """The reward, and for each discount the behaviour policy's return, of the L rows to learn from, [1, L, H]."""
    samples, returns = problem.samples, [discounted_returns_of(problem.samples, gamma) for gamma in discounts]

    def goal(stretch: slice) -> Tensor:
        within = torch.tensor([stretch.start, stretch.stop], device=samples.device)
        first, last = torch.searchsorted(problem.rows, within).tolist()
        rows = problem.rows[first:last]
        found = (of(stretch).float()[rows - stretch.start] for of in returns)
        return torch.stack([samples.reward[rows], *found], -1)[None]

    return joined(len(problem.rows), map(goal, samples.stretches(CHUNK)), axis=1)


@torch.no_grad()
def _one_step_on(networks: Networks, problem: Problem, discounts: list[float]) -> Tensor:
    """The reward, and for each discount r + gamma V(s') by the fixed point in features as they are, [K, L, H]."""
    samples, inputs = problem.samples, problem.inputs
    system, start = _system(networks, problem)
    theta = torch.stack([solve(system, start, gamma)[0] for gamma in discounts], -1)  # [K, D, H]
    gammas = torch.tensor(discounts, dtype=torch.float64, device=samples.device)
    low, high = torch.tensor([problem.bounds(gamma) for gamma in discounts], device=samples.device).double().T

    def goal(rows: Tensor) -> Tensor:
        after = (_expected(networks, inputs, inputs.following(rows)).double() @ theta).clamp(low, high)
        found = samples.reward[rows, None].expand(-1, 1 + len(discounts)).repeat(len(theta), 1, 1)
        found[..., 1:] += (gammas * after).float() * (~samples.terminated[rows])[:, None]
        return found

    return joined(len(problem.rows), map(goal, slices(problem.rows)), axis=1)


def _regress(
    networks: Networks,
    problem: Problem,
    order: torch.Generator,
    goal: Tensor,
    weight: OfRows,
    updates: int,
    advance: Callable[..., None],
) -> None:
    """Fit all heads to the goals of the rows that are learned from, [K or 1, L, H], each standardised.

    To the end, and not until held-out error rises: features that follow noise a little tell more of the value, and the
    fixed point, which is solved for in a few hundred numbers, does not follow.
    """
    by_row = goal.transpose(0, 1)
    mean, spread = mean_and_std(by_row, correction=0)
    std = spread + 1e-6

    def loss(step: int) -> Tensor:
        drawn = torch.randint(len(problem.rows), (BATCH,), generator=order).to(problem.samples.device)
        rows = taken(problem.rows, drawn)
        wanted = ((taken(by_row, drawn) - mean) / std).transpose(0, 1)
        gap = networks(problem.inputs.logged(rows)) - wanted
        return (gap.square().sum(-1) * weight(rows)).mean(-1).sum()

    for _ in descend(networks, loss, steps=updates, learning_rate=LEARNING_RATE, max_gradient_norm=LARGEST_GRADIENT):
        trim()
        advance(1)


def _expected(networks: Networks, inputs: Inputs, places: Tensor) -> Tensor:
    """Mean features over the policy's actions at places of the table, [K, B, D]."""
    read, chance = inputs.expected(places)
    flat = _hidden(networks, read.flatten(0, 1))
    return (flat.unflatten(1, chance.shape) * chance[..., None]).sum(2)


def traced(now: Tensor, fading: Tensor, before: Tensor | None = None) -> Tensor:
    """Sums that fade along episodes, e_t = now_t + fading_t e_{t-1}, in about log2(rows) passes.

    Args:
        now: [K, B, D].
        fading: [B].
        before: e of the row before the first, [K, D]; 0 where none.
    """
    total, reach = now, fading
    if before is not None:
        total = torch.cat([now[:, :1] + fading[0] * before[:, None], now[:, 1:]], 1)
    step = 1
    reach = torch.cat([torch.zeros_like(fading[:1]), fading[1:]])
    while step < len(fading) and bool((reach != 0).any()):
        total = torch.cat([total[:, :step], total[:, step:] + reach[step:, None] * total[:, :-step]], 1)
        reach = torch.cat([torch.zeros_like(reach[:step]), reach[step:] * reach[:-step]])
        step *= 2
    return total


def _hidden(networks: Networks, read: Tensor) -> Tensor:
    """Features and a constant, [K, B, D]."""
    hidden = networks.hidden(read)
    return torch.cat([hidden, torch.ones_like(hidden[..., :1])], -1)


def _times(features: Tensor, weight: Tensor) -> Tensor:
    return (features.double() @ weight[..., None])[..., 0]
