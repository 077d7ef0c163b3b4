"""The fixed point of fitted Q evaluation, and how often a policy comes by, as two solutions of one linear system.

With features phi of a row, phi' one step on under the policy (0 after a terminated step) and test functions tau,

    A = sum tau (phi - gamma phi')'     theta: A theta = sum tau r          Q = phi' theta
                                        alpha: A' alpha = sum_e phi(start)   w = tau' alpha

theta is where regressing Q on r + gamma Q' again and again in these features comes to rest, if it does; it is solved
for and not waited for, because that takes 1 / (1 - gamma) regressions and longer. alpha is its dual: weights w under
which the log's visits begin at the starts and flow as the policy's would, so that sum w (r + gamma Q' - Q) corrects any
Q.

tau is a trace of features, e_t = phi_t + f_t e_{t-1} within an episode. Of state and action, tau = e with f = gamma
lambda min(1, ratio_t): fitted Q, whose error over many steps counts and not that of one alone, so that less of what
features cannot tell adds up. Of the state alone, tau = ratio_t e with f = gamma lambda min(1, ratio_{t-1}): V, and
w = ratio * u with the exact ratio, the marginalised weights. lambda = 0 leaves f = 0: one step, and u a function of s.

Source: Lagoudakis and Parr 2003 (LSTDQ); Munos et al. 2016 (Retrace), https://arxiv.org/abs/1606.02647, for the trace;
Uehara, Huang and Jiang 2020, https://arxiv.org/abs/1910.12809, for the dual
"""

from dataclasses import dataclass

import torch
from torch import Tensor

SMALLEST = 1e-30  # of that mean: where every ratio is 0 there is nothing to solve, and all is 0
RIDGE = 1e-6  # of the mean square of a feature: keeps features that no row has from being divided by 0


@dataclass(frozen=True)
class Sums:
    """What the system is made of, summed over rows, of K members with D features each, in float64."""

    now: Tensor  # sum tau phi', [K, D, D]
    after: Tensor  # sum tau phi'(next)', [K, D, D]
    reward: Tensor  # sum tau r, [K, D]

    def __add__(self, other: "Sums") -> "Sums":
        """Of both lots of rows."""
        return Sums(self.now + other.now, self.after + other.after, self.reward + other.reward)


def sums(test: Tensor, now: Tensor, after: Tensor, reward: Tensor) -> Sums:
    """Sums over B rows.

    Args:
        test: tau, [K, B, D].
        now: phi, [K, B, D].
        after: phi one step on, 0 after a terminated step, [K, B, D].
        reward: [B].
    """
    tested = test.transpose(1, 2)
    return Sums((tested @ now).double(), (tested @ after).double(), (tested @ reward).double())


def solve(system: Sums, start: Tensor, discount: float) -> tuple[Tensor, Tensor]:
    """Theta and alpha, each [K, D] float64.

    Args:
        system: the sums.
        start: phi of every start of an episode, summed, [K, D] float64.
        discount: gamma; 1 is possible where every episode terminates.
    """
    size = system.now.diagonal(dim1=-2, dim2=-1).mean(-1)[:, None, None].clamp_min(SMALLEST)
    ridge = RIDGE * size * torch.eye(system.now.shape[-1], dtype=torch.float64, device=system.now.device)
    matrix = system.now - discount * system.after + ridge
    return torch.linalg.solve(matrix, system.reward), torch.linalg.solve(matrix.transpose(1, 2), start)
