"""Sums that run backward through episodes: discounted returns, lambda-returns, V-trace targets.

All are one recursion, x_t = amount_t + factor_t x_{t+1}, and all take and give [..., N] in the order of the log. V
after a step is V of the row after it, except after the last row of an episode: 0 where the episode terminated, V of
its final observation where it was cut. Nothing flows from one episode into the one before.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from gipo_cli.training.columns import joined, mean
from gipo_cli.training.samples import Samples


def backward(amount: Tensor, factor: Tensor) -> Tensor:
    """x_t = amount_t + factor_t x_{t+1}, along the last axis, in about log2(longest episode) passes over it.

    A pass doubles the number of steps that each x_t has gathered, so one long episode costs no more than many short
    ones, and nothing loops over rows. The factor of the last row of an episode has to be 0.

    Args:
        amount: [..., N].
        factor: [..., N].

    Returns:
        [..., N] in float64: sums of thousands of steps keep their last digits.
    """
    total, reach = amount.double().clone(), factor.double()
    step = 1
    while step < total.shape[-1] and bool((reach != 0).any()):
        total[..., :-step] += reach[..., :-step] * total[..., step:]
        reach = torch.cat([reach[..., :-step] * reach[..., step:], torch.zeros_like(reach[..., -step:])], -1)
        step *= 2
    return total


def discounted_returns(samples: Samples, discount: float) -> Tensor:
    """sum_k gamma^k r_k to the end of each row's episode, [N].

    An episode that was cut goes on as if the mean reward of the log were paid for ever: right for no state, but of
    the right size to begin with.
    """
    return along_episodes(samples, discounted_returns_of(samples, discount))


def discounted_returns_of(samples: Samples, discount: float) -> Callable[[slice], Tensor]:
    """The same as a function of rows of whole episodes, float64."""
    rest = mean(samples.reward) / (1 - discount)

    def of(rows: slice) -> Tensor:
        end, terminated = samples.episode_end[rows], samples.terminated[rows]
        amount = samples.reward[rows].double() + discount * rest * (end & ~terminated)
        return backward(amount, discount * (~end).double())

    return of


def along_episodes(samples: Samples, of: Callable[[slice], Tensor]) -> Tensor:
    """What runs along episodes, [..., N] float32, from whole episodes at a time: rows of them -> [..., B]."""
    return joined(len(samples.reward), (of(rows).float() for rows in samples.stretches()), axis=-1)


def lambda_returns(
    samples: Samples, value_after: Tensor, discount: float, decay: float, rows: slice = slice(None)
) -> Tensor:
    """TD(lambda) returns of the log, or of those rows of whole episodes that are given, [..., N].

        G_t = r_t + gamma ((1 - lambda) V(s_{t+1}) + lambda G_{t+1})

    lambda = 1 is the discounted return, of a cut episode with V of its final observation; lambda = 0 is one step.
    G - V is GAE(lambda): the two are one sum, sum_k (gamma lambda)^k delta_{t+k}, told in another order.

    Source: Sutton and Barto 2018, section 12.1; Schulman et al. 2015 (arXiv:1506.02438), equation 16

    Args:
        samples: the log.
        value_after: V(s_{t+1}), 0 after a terminated step, [..., N].
        discount: gamma.
        decay: lambda, 0 to 1.
        rows: of whole episodes.
    """
    inside = (~samples.episode_end[rows]).double()
    following = value_after[..., rows].double()
    amount = samples.reward[rows].double() + discount * (1 - decay * inside) * following
    return backward(amount, discount * decay * inside.expand_as(amount))


def v_trace(
    samples: Samples,
    value: Tensor,
    value_after: Tensor,
    log_ratio: Tensor,
    discount: float,
    *,
    rho_bar: float,
    c_bar: float,
    decay: float,
    rows: slice = slice(None),
) -> tuple[Tensor, Tensor]:
    """V-trace targets v_s and what an action earned over V, r + gamma q_{s+1} - V(s), each [..., N].

    Of the log, or of those rows of whole episodes that are given.

        v_s = V(s) + delta_s + gamma c_s (v_{s+1} - V(s_{s+1}))        c = lambda min(c_bar, ratio)
        delta_s = rho_s (r_s + gamma V(s_{s+1}) - V(s))                rho = min(rho_bar, ratio)
        q_{s+1} = lambda v_{s+1} + (1 - lambda) V(s_{s+1})

    The mistake to avoid: rlax multiplies the second by min(rho_pg, ratio), for a loss -A log pi. An objective here
    brings the importance weight itself, so it is left out; with it every sample would be weighted twice.

    Source: Espeholt et al. 2018 (arXiv:1802.01561), equation 1; lambda and q as in rlax, vtrace.py

    Args:
        samples: the log.
        value: V(s_t), [..., N].
        value_after: V(s_{t+1}), 0 after a terminated step, [..., N].
        log_ratio: log pi - log beta of the policy that is valued, [N], in nats.
        discount: gamma.
        rho_bar: cut of the ratio that decides *whose* value V becomes.
        c_bar: cut of the ratio that decides how fast.
        decay: lambda, 0 to 1.
        rows: of whole episodes.
    """
    value, value_after = value[..., rows].double(), value_after[..., rows].double()
    reward, ratio = samples.reward[rows].double(), log_ratio[rows].double().exp()
    inside = (~samples.episode_end[rows]).double()
    gap = ratio.clamp(max=rho_bar) * (reward + discount * value_after - value)
    over = backward(gap, (discount * decay * inside * ratio.clamp(max=c_bar)).expand_as(gap))
    # v_{s+1} - V(s_{s+1}): what lies beyond the end of an episode is V itself, so nothing is left there.
    over_after = torch.cat([over[..., 1:], torch.zeros_like(over[..., :1])], -1) * inside
    return value + over, reward + discount * (value_after + decay * over_after) - value
