"""Values that look to the better of the logged actions, without asking about any other."""

import copy
import math
from typing import Annotated

import torch
from torch import Tensor, nn

from gipo_cli.advantages import Estimate, Task
from gipo_cli.advantages.centring import Centring, centring
from gipo_cli.advantages.from_value import score, td
from gipo_cli.advantages.networks import Networks, on_every_row
from gipo_cli.advantages.regression import LARGEST_GRADIENT, LEARNING_RATE, rows_of
from gipo_cli.advantages.standardised import Standardised
from gipo_cli.advantages.value import Values, fit_value, values_of
from gipo_cli.data.resident import trim
from gipo_cli.settings import Expected, Fraction
from gipo_cli.training.columns import joined, mean_and_std, taken
from gipo_cli.training.order import generator
from gipo_cli.training.samples import Samples

START_SHARE = 0.25  # of the updates, for the discounted returns that V and Q begin at
AVERAGING = 0.01  # of the target networks, an update
BATCH = 512  # rows; each passes through V twice, Q and the target of Q
ROWS, WEIGHTS = 28, 29  # purposes of random numbers
Open = Annotated[float, Expected("a number between 0 and 1", lambda value: 0 < value < 1)]


def estimate(
    task: Task,
    *,
    expectile: Open = 0.7,
    centred: Fraction = 1.0,
) -> Estimate:
    """IQL's critic: V an expectile of Q over the logged actions, Q one step on V; the lesser of two Q less V.

        A = min(Q_1(s, a), Q_2(s, a)) - (centred * E_{a ~ beta} min(Q_1, Q_2) + (1 - centred) * V(s))
        V = argmin E |expectile - 1(u < 0)| u^2,   u = min of the target networks of Q(s, a) - V(s)
        Q = argmin E (r + gamma V(s') - Q(s, a))^2

    At expectile 0.5 V is the mean, so all is of beta; towards 1 V nears the best action of the log. Luck of
    transitions counts as merit, as in every expectile. Q is the value of the state plus the centred head of
    `centring`, so for a continuous action it is quadratic in the noise; this is ours, IQL's is any function.

    Centred: with centred = 1 over beta, exactly for discrete actions; for continuous ones each Q is exactly, and the
    lesser of the two over 64 draws of the noise. centred = 0 is IQL's own A, whose mean under beta is below 0 for an
    expectile above 0.5: right for its weights exp(A), which have no sign, and not for a policy gradient.

    The mistake to avoid: too few updates. One step of bootstrap an update, averaged over 100 of them, reaches
    1 / (1 - gamma) steps only after 100 times as many. V and Q therefore begin at discounted returns, the values of
    beta, and what 4,000 updates add is the improvement of some tens of steps; give `critic_steps` 40,000 for more.

    improvement_kl and policy are not looked at: the expectile says how far to look.

    Source: Kostrikov et al. 2021 (arXiv:2110.06169), equations 5 and 6.

    Settings:
        expectile: between 0 and 1.
        centred: share of the exact centring, 0 to 1.
    """
    samples, beta, discount, updates, seed = task.samples, task.beta, task.discount, task.updates, task.seed
    features, rows = Standardised(samples), rows_of(samples, generator(seed, ROWS), BATCH)
    first = max(1, round(START_SHARE * updates))
    with task.progress("advantages", updates) as advance:
        start = fit_value(
            samples, features, rows, td(task, 1.0),
            discount=discount, updates=first, seed=seed, advance=advance,
        )  # fmt: skip
        critic = _Critic(samples, features, centring(beta, samples), start, discount, seed)
        parameters = [*critic.value_network.parameters(), *critic.quality_network.parameters()]
        optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE, fused=True)
        for update in range(first, updates):
            for group in optimizer.param_groups:
                group["lr"] = LEARNING_RATE * min(1.0, 1 + math.cos(math.pi * update / updates)) + 1e-6
            optimizer.zero_grad()
            critic.loss(rows.batch(), expectile).backward()
            nn.utils.clip_grad_norm_(parameters, LARGEST_GRADIENT)
            optimizer.step()
            critic.average()
            trim()
            advance(1)
    return critic.estimate(centred)


class _Critic:
    """V and two Q, each as what it adds to the V of beta that it began at, and the slow copy of Q."""

    def __init__(
        self, samples: Samples, features: Standardised, noise: Centring, start: Values, discount: float, seed: int
    ) -> None:
        self.samples, self.features, self.centring, self.discount = samples, features, noise, discount
        self.start = start
        width, drawn = features.size, generator(seed, WEIGHTS)
        self.value_network = Networks(1, width, 1, drawn).to(samples.device)
        self.quality_network = Networks(2, width, 1 + noise.head_size, drawn).to(samples.device)
        self.slow_quality = copy.deepcopy(self.quality_network)
        mean_square, _ = mean_and_std(samples.at_every_row(self._squared_first_gap), samples.held_in_rows)
        self.unit = mean_square.sqrt() + 1e-6

    def _squared_first_gap(self, rows: Tensor) -> Tensor:
        """One-step error of the V that all began at, squared, [B]."""
        following = self.discount * self.start.after[0, rows]
        return (self.samples.reward[rows] + following - self.start.now[0, rows]).square()

    def loss(self, rows: Tensor, expectile: float) -> Tensor:
        """Of V and both Q, in units of V's first one-step error."""
        start, features = taken(self.start.now[0], rows) / self.unit, self.features[rows]
        value = self.value_network(features)[0, :, 0]
        following = self.value_network(self.features.after_in_table(rows))[0, :, 0].detach()
        following = taken(self.start.after[0], rows) / self.unit + following
        following = following * ~taken(self.samples.terminated, rows)
        goal = taken(self.samples.reward, rows) / self.unit + self.discount * following - start
        with torch.no_grad():
            least = self.quality(self.slow_quality(features), rows).amin(0)
        over = least - value
        of_value = torch.where(over < 0, 1 - expectile, expectile) * over.square()
        of_quality = (self.quality(self.quality_network(features), rows) - goal).square()
        return of_value.mean() + of_quality.mean(-1).sum()

    def quality(self, head: Tensor, rows: Tensor) -> Tensor:
        """Both Q of the logged actions less the V that they began at, in units, [2, B]."""
        return head[..., 0] + self.centring.advantage(head[..., 1:], rows)

    @torch.no_grad()
    def average(self) -> None:
        """Let the slow copy of Q follow."""
        pairs = zip(self.slow_quality.parameters(), self.quality_network.parameters(), strict=True)
        for follows, leads in pairs:
            follows.lerp_(leads, AVERAGING)

    @torch.no_grad()
    def estimate(self, centred: float) -> Estimate:
        """Advantages of every row, scored by the mean of both Q less V.

        Paths add up with Q - V, whatever is centred afterwards; the lesser of two is below Q at every step by a little,
        which centring takes out again and 32 steps in a row would add up.
        """
        added = values_of(self.value_network, self.features, self.unit)

        def both(rows: Tensor) -> Tensor:
            least, mean, usual = (part * self.unit for part in self._least(rows))
            now = added.now[0, rows]
            return torch.stack([least - (centred * usual + (1 - centred) * now), mean - now])

        advantage, explaining = on_every_row(both, self.samples)
        values = Values(self._sum(self.start.now, added.now), self._sum(self.start.after, added.after))
        return score(self.samples, values, advantage, explaining, self.discount)

    def _sum(self, one: Tensor, other: Tensor) -> Tensor:
        """Of two columns, [1, N]."""
        return joined(one.shape[1], (one[:, rows] + other[:, rows] for rows in self.samples.every_row()), axis=1)

    def _least(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Lesser and mean Q of the logged actions, and what the lesser is on average under beta, each [B]."""
        head = self.slow_quality(self.features[rows])
        usual = self.centring.mean_of_least(head[..., 0], head[..., 1:], rows)
        quality = self.quality(head, rows)
        return quality.amin(0), quality.mean(0), usual
