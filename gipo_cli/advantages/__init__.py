"""One file per estimator of how much better a logged action was than the behaviour policy's usual one.

    f(task, *, setting: float = default) -> Estimate

The keyword-only arguments are the estimator's settings: `gipo train --advantage NAME --set setting=value`. What of the
task one has no use for, it leaves alone.

What they share, each in the file that knows it: backward recursions over episodes (traces), networks side by side
(networks), regression that stops in time (regression), V (value), what is left of noisy advantages when they are
written as a function of state and action (smoothing), exact centring (centring), the score (explained). Estimators do
not import each other.

An estimator is centred under the behaviour policy, E over a ~ beta is 0 in every state, or says in its docstring what
is left; it scores itself on episodes that it never saw.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from torch import Tensor

from gipo_cli.policies.policy import Policy
from gipo_cli.policies.versions import Behaviour
from gipo_cli.training.samples import Samples

Progress = Callable[[str, int], AbstractContextManager[Callable[..., None]]]


@dataclass(frozen=True)
class Task:
    """What every estimator is given."""

    samples: Samples  # the log
    beta: Behaviour  # the behaviour policy, or what stands for it
    policy: Policy | None  # what is being trained, as it is now; none before its first update, while it is beta
    discount: float  # gamma, below 1
    improvement_kl: float  # nats from beta to the improved policy that values look ahead to; 0 values beta
    updates: int  # gradient steps in all
    seed: int  # of networks and the order of rows
    progress: Progress  # shows how far the fit is


@dataclass(frozen=True)
class Estimate:
    """Advantages of the log, and how far they hold on episodes that never trained them.

    `explained` is the share of what held-out paths earn beyond what V foresaw, sum gamma^k r_k + gamma^n V(s_n) -
    V(s_0), squared, that the advantages of their actions explain: 0 nothing, 1 all of it.
    """

    advantage: Tensor  # [N], in units of reward; mean 0 under beta in every state
    explained: float  # on held-out episodes
    explained_held_in: float
    explained_lower: float | None  # 95 % lower bound of `explained`; none where too few episodes are held out
