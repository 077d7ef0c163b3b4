"""One file per estimator of how much better a logged action was than the behaviour policy's usual one.

    f(samples, beta, *, discount, improvement_kl, updates, seed, progress) -> Estimate

An estimator is centred under the behaviour policy, E over a ~ beta is 0 in every state, and scores itself on episodes
that it never saw.
"""

from dataclasses import dataclass

from torch import Tensor


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
