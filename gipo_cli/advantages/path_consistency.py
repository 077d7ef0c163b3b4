"""The default advantage: fitted so that logged paths add up under an improved policy, whatever actions chance took."""

import copy
import math

import torch
from torch import Tensor, nn

from gipo_cli.advantages import Estimate, Task
from gipo_cli.advantages.centring import Centring, centring, target_of
from gipo_cli.advantages.explained import path_returns, scored, squared_gaps
from gipo_cli.advantages.standardised import Standardised
from gipo_cli.advantages.traces import discounted_returns
from gipo_cli.data.resident import trim
from gipo_cli.pieces import differentiate, each, pieces
from gipo_cli.policies.layers import Linear
from gipo_cli.policies.policy import Policy
from gipo_cli.policies.versions import Behaviour
from gipo_cli.training.columns import mean_and_std, taken
from gipo_cli.training.order import generator
from gipo_cli.training.samples import Samples

WIDTH = 128
LEARNING_RATE = 1e-3
AVERAGING = 0.01  # of the target networks, an update
SEGMENTS = 32  # stretches of the log in a batch ...
SEGMENT_STEPS = 32  # ... and steps in each
START_FIT_STEPS = 500  # updates that fit the first value function to discounted returns ...
FIRST_BATCH = 1024  # ... of so many rows each
# The improved policy's step away from beta grows from 0 to all of it between these shares of the updates.
IMPROVEMENT_FROM, IMPROVEMENT_UNTIL = 0.25, 0.45
LARGEST_GRADIENT = 10.0
WEIGHTS, ROWS = 21, 22  # purposes of random numbers


class _Network(nn.Module):
    """Two hidden layers with layer normalisation; the last layer starts at 0, so the first estimate is nothing."""

    def __init__(self, fan_in: int, fan_out: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            Linear(fan_in, WIDTH), nn.LayerNorm(WIDTH), nn.ReLU(),
            nn.Linear(WIDTH, WIDTH), nn.LayerNorm(WIDTH), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(WIDTH, fan_out)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, features: Tensor) -> Tensor:
        return self.head(self.body(features))


class _Critic:
    """V and the head of A, their slow copies, and the units that both are measured in."""

    def __init__(
        self, samples: Samples, beta: Behaviour, discount: float, seed: int, policy: Policy | None = None
    ) -> None:
        self.samples, self.discount = samples, discount
        self.features = Standardised(samples)
        self.centring: Centring = centring(beta, samples)
        self.target = None if policy is None else target_of(policy, beta, samples)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**62, (), generator=generator(seed, WEIGHTS))))
            self.value_network = _Network(self.features.size, 1).to(samples.device)
            self.head_network = _Network(self.features.size, self.centring.head_size).to(samples.device)
        self.returns = discounted_returns(samples, discount)
        self.value_mean, spread = mean_and_std(self.returns, samples.held_in_rows)
        self.value_std = spread + 1e-6
        # The unit of an advantage: rewards where they vary, else one step's share of what values vary by.
        _, reward_std = mean_and_std(samples.reward, samples.held_in_rows)
        self.unit = torch.maximum(reward_std, (1 - discount) * self.value_std)
        self.slow_value = copy.deepcopy(self.value_network)
        self.slow_head = copy.deepcopy(self.head_network)
        self.temperature = torch.ones((), device=samples.device)
        self.improvement = 0.0  # share of the way from beta to the improved policy

    def value(self, network: nn.Module, features: Tensor) -> Tensor:
        """V, [...], in units of reward."""
        return network(features).squeeze(-1) * self.value_std + self.value_mean

    @torch.no_grad()
    def slow_heads(self, features: Tensor) -> Tensor:
        """Head of A by the slow copy, [..., H]."""
        return self.slow_head(features)

    def improved_advantage(self, head: Tensor, rows: Tensor, slow_heads: Tensor | None) -> Tensor:
        """Advantage over the improved policy's usual action, [...], of A's head and the slow copy's, [..., H]."""
        advantage = self.centring.advantage(head, rows)
        if self.target is not None:
            advantage = advantage - self.centring.gain_under(head, rows, self.target)
        elif slow_heads is not None and self.improvement > 0:
            guide = self.improvement * slow_heads
            advantage = advantage - self.centring.gain(head, rows, self.temperature, guide)
        return advantage * self.unit

    def squared_miss(self, rows: Tensor) -> Tensor:
        """What V misses the discounted returns of rows [B] by, squared and summed; in units of their deviation."""
        gap = self.value(self.value_network, self.features[rows]) - taken(self.returns, rows)
        return (gap / self.value_std).square().sum()

    def path_returns(self, rows: Tensor, advantage: Tensor) -> Tensor:
        """sum_k gamma^k (r_k - A_k) + gamma^n V(s_n) from every row of segments [S, T], V that of the slow copy."""
        return path_returns(self.samples, rows, advantage, self.discount, self._value_after)

    def _value_after(self, rows: Tensor) -> Tensor:
        return self.value(self.slow_value, self.features.after(rows))


def estimate(task: Task) -> Estimate:
    """Fit A and V so that every logged path adds up, and return A of the logged actions, centred under beta.

        sum_{k<n} gamma^k (r_k - A(s_k, a_k)) + gamma^n V(s_n) = V(s_0)

    With A centred under a policy pi the identity holds, where the environment is deterministic, for any actions: V is
    then V of pi, though beta chose the actions, and no importance weight appears. pi is the improved policy that A
    itself implies, beta moved along A until E[KL(beta || pi)] is about `improvement_kl`; V and A so look ahead to a
    better policy than beta, as an expectile critic does, but stay on beta's actions. Subtracting the later actions'
    advantages takes their noise out of the return. In a stochastic environment the luck of transitions stays in, as
    noise with mean 0 given state and action.

    The mistake to avoid: training a policy on A centred under pi. What a sample is worth to the policy gradient is
    its advantage over beta's usual action; that is what is returned.

    Args:
        task: what every estimator is given. With an improvement_kl of 0, V and A are those of beta itself; with a
            policy, which training gives once it has left beta, those of that policy in place of the improved one's, so
            values follow it as it moves.

    Raises:
        DivergedError: the loss was not finite.

    Source: direct advantage estimation, Pan et al. 2022 (arXiv:2109.06093), and its off-policy form, Pan and
    Schoelkopf 2024 (arXiv:2402.12874); centring under the implied improved policy, in closed form, is ours.
    """
    samples, updates, seed = task.samples, task.updates, task.seed
    critic = _Critic(samples, task.beta, task.discount, seed, task.policy)
    _fit_first_value(critic, generator(seed, ROWS, 0))
    learned = [*critic.value_network.parameters(), *critic.head_network.parameters()]
    slow = [*critic.slow_value.parameters(), *critic.slow_head.parameters()]
    optimizer = torch.optim.AdamW(learned, lr=LEARNING_RATE, weight_decay=0.0, fused=True)
    rows_generator = generator(seed, ROWS, 1)
    length = min(SEGMENT_STEPS, len(samples.reward))
    with task.progress("advantages", updates) as advance:
        for update in range(updates):
            share = update / updates
            if task.improvement_kl > 0:
                grown = (share - IMPROVEMENT_FROM) / (IMPROVEMENT_UNTIL - IMPROVEMENT_FROM)
                critic.improvement = min(1.0, max(0.0, grown))
            for group in optimizer.param_groups:
                group["lr"] = LEARNING_RATE * min(1.0, 1 + math.cos(math.pi * share)) + 1e-6
            first = torch.randint(len(samples.reward) - length + 1, (SEGMENTS, 1), generator=rows_generator)
            rows = (first + torch.arange(length)).to(samples.device)
            optimizer.zero_grad()
            _differentiate(critic, rows, task.improvement_kl)
            nn.utils.clip_grad_norm_(learned, LARGEST_GRADIENT)
            optimizer.step()
            with torch.no_grad():
                for follows, leads in zip(slow, learned, strict=True):
                    follows.lerp_(leads, AVERAGING)
            trim()
            advance(1)
    return _score(critic)


def _differentiate(critic: _Critic, rows: Tensor, improvement_kl: float) -> None:
    """Gradients of the mean squared gap over the held-in rows of segments [S, T]; V's network beside A's."""
    features, held_in = critic.features[rows], ~critic.samples.held_out[rows]
    networks = [critic.head_network, lambda features: critic.value(critic.value_network, features)]
    if improvement_kl > 0 and critic.target is None:
        networks.append(critic.slow_heads)
    of_head, of_value, *of_slow = each(lambda network: network(features), networks)
    slow_heads = of_slow[0] if of_slow else None
    if slow_heads is not None:
        _steer_temperature(critic, rows, slow_heads, improvement_kl)
    head, foreseen = (output.detach().requires_grad_() for output in (of_head, of_value))
    gap = critic.path_returns(rows, critic.improved_advantage(head, rows, slow_heads)) - foreseen
    loss = ((gap / critic.unit).square() * held_in).sum() / held_in.sum().clamp_min(1)
    gradients = torch.autograd.grad(loss, (head, foreseen))
    each(lambda network: network[0].backward(network[1]), zip((of_head, of_value), gradients, strict=True))


@torch.no_grad()
def _steer_temperature(critic: _Critic, rows: Tensor, slow_heads: Tensor, improvement_kl: float) -> None:
    """KL(beta || pi) is spread / (2 temperature^2) to second order: follow the temperature that makes it the target."""
    spread = critic.centring.spread(slow_heads, rows).mean()
    wanted = (spread / (2 * improvement_kl)).sqrt()
    critic.temperature.lerp_(wanted, 0.01).clamp_min_(1e-6)


def _fit_first_value(critic: _Critic, rows_generator: torch.Generator) -> None:
    """Begin V at the discounted return of the log, so the bootstrap is right to first order from the start."""
    samples = critic.samples
    learned = [*critic.value_network.parameters()]
    optimizer = torch.optim.Adam(learned, lr=LEARNING_RATE, fused=True)
    held_in = samples.held_in_rows
    for _ in range(START_FIT_STEPS):
        drawn = torch.randint(len(held_in), (FIRST_BATCH,), generator=rows_generator).to(held_in.device)
        differentiate(learned, lambda part: critic.squared_miss(part) / FIRST_BATCH, pieces(taken(held_in, drawn)))
        optimizer.step()
        trim()
    critic.slow_value.load_state_dict(critic.value_network.state_dict())


@torch.no_grad()
def _score(critic: _Critic) -> Estimate:
    samples = critic.samples

    def logged_advantage(rows: Tensor) -> Tensor:
        return critic.centring.advantage(critic.head_network(critic.features[rows]), rows) * critic.unit

    def improved_advantage(rows: Tensor) -> Tensor:
        features = critic.features[rows]
        return critic.improved_advantage(critic.head_network(features), rows, critic.slow_heads(features))

    squares = squared_gaps(
        samples,
        lambda rows: critic.value(critic.value_network, critic.features[rows]),
        improved_advantage,
        critic.path_returns,
    )
    return scored(samples, samples.at_every_row(logged_advantage), squares)
