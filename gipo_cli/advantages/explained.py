"""How much of what held-out paths earn, beyond what V foresaw, the advantages of their actions explain.

    explained = 1 - sum (path return less advantages - V(s_0))^2 / sum (path return - V(s_0))^2

over stretches of the log, from each of their rows to their end. The advantage has to be a function of state and action
fitted to other episodes: one that holds a path's own rewards, as a return less a value does, explains nothing and
copies. Every estimator is scored here, so the numbers of two of them compare.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from gipo_cli.advantages import Estimate
from gipo_cli.data.resident import trim
from gipo_cli.diagnostics.bootstrap import lower_bound
from gipo_cli.errors import DivergedError
from gipo_cli.training.columns import chunks
from gipo_cli.training.samples import Samples

SEGMENT_STEPS = 32  # of a stretch
MOST_STRETCHES = 2**17  # 4 million rows: what they explain is known to a thousandth of it


def path_returns(
    samples: Samples, rows: Tensor, advantage: Tensor, discount: float, value_after: Callable[[Tensor], Tensor]
) -> Tensor:
    """sum_k gamma^k (r_k - A_k) + gamma^n V(s_n) from every row of segments [S, T] to the segment's end, [S, T].

    A path that ends with its episode stops there; V is added at the end of a path unless it terminated.

    Args:
        samples: the log.
        rows: of consecutive steps, [S, T]; an episode may end inside.
        advantage: of the rows, [S, T]; carries its gradient.
        discount: gamma.
        value_after: rows [M] -> V(s_{t+1}) [M]; no gradient.
    """
    length = rows.shape[1]
    ends = samples.episode_end[rows].clone()
    ends[:, -1] = True
    with torch.no_grad():
        rest = torch.zeros_like(samples.reward[rows])
        open_end = ends & ~samples.terminated[rows]
        rest[open_end] = value_after(rows[open_end])
    step = torch.arange(length, device=rows.device)
    ahead = step[None, :] - step[:, None]
    discounts = discount ** ahead.clamp_min(0) * (ahead >= 0)
    episode = samples.episode[rows]
    same_episode = episode[:, :, None] == episode[:, None, :]
    amounts = samples.reward[rows] - advantage + discount * rest
    return ((discounts * same_episode) * amounts[:, None, :]).sum(-1)


def squared_gaps(
    samples: Samples,
    value: Callable[[Tensor], Tensor],
    advantage: Callable[[Tensor], Tensor],
    returns: Callable[[Tensor, Tensor], Tensor],
) -> np.ndarray:
    """What path returns miss V by, squared and summed over the rows of each episode, with A and without, [E, 2].

    Args:
        samples: the log.
        value: rows [S, T] -> V(s_t) [S, T].
        advantage: rows [S, T] -> A, centred under the policy whose V this is, [S, T].
        returns: (rows, advantage) -> path returns, as `path_returns` gives them.
    """
    length = min(SEGMENT_STEPS, len(samples.reward))
    first = _looked_at(len(samples.reward) // length).to(samples.device) * length
    sums = torch.zeros(len(samples.final_observation), 2, dtype=torch.float64, device=samples.device)
    for chunk in first.split(1024):
        rows = chunk[:, None] + torch.arange(length, device=samples.device)
        foreseen, found = value(rows), advantage(rows)
        paths = [returns(rows, what) for what in (found, torch.zeros_like(found))]
        squares = torch.stack([(path - foreseen).square() for path in paths], -1).double()
        sums.index_add_(0, samples.episode[rows].flatten(), squares.flatten(0, 1))
        trim()
    return sums.cpu().numpy()


def _looked_at(stretches: int) -> Tensor:
    """Numbers of the stretches that are looked at: all, or of many a random part, in the order of the log."""
    if stretches <= MOST_STRETCHES:
        return torch.arange(stretches)
    drawn = torch.randperm(stretches, generator=torch.Generator().manual_seed(0))[:MOST_STRETCHES]
    return drawn.sort().values


def scored(samples: Samples, advantage: Tensor, squares: np.ndarray) -> Estimate:
    """The estimate of advantages [N] with the score that squared gaps [E, 2] give it.

    Raises:
        DivergedError: an advantage is not finite.
    """
    if not all(torch.isfinite(chunk).all() for chunk in chunks(advantage)):
        raise DivergedError(
            "the advantages did not stay finite.",
            "Look at the rewards with `gipo datasets info`, or lower the horizon: --set discount=0.99.",
        )
    held_in = np.ones(len(squares), bool)
    for rows in chunks(samples.held_out_rows):
        held_in[samples.episode[rows].cpu().numpy()] = False
    held_out = squares[~held_in]
    return Estimate(
        advantage=advantage,
        explained=float(_explained(held_out.sum(0))),
        explained_held_in=float(_explained(squares[held_in].sum(0))),
        explained_lower=lower_bound(held_out, _explained),
    )


def _explained(squares: np.ndarray) -> np.ndarray:
    """1 - (squared gaps with A) / (squared gaps without), of totals [..., 2]; below 0 where A makes them larger."""
    return 1 - squares[..., 0] / np.maximum(squares[..., 1], 1e-12)
