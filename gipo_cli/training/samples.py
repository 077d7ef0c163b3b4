"""The log as tensors on one device, with the episodes that never train anything set apart.

A column that memory does not take stays in its file (`data/cache.py`), and `column[rows]` reads those rows alone.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from gipo_cli.data.cache import scratch
from gipo_cli.data.resident import blocks, rows_of
from gipo_cli.data.trajectories import Trajectories, stretches
from gipo_cli.diagnostics.bootstrap import FEWEST_EPISODES
from gipo_cli.errors import DataError
from gipo_cli.policies.distributions import pre_squash as invert_tanh
from gipo_cli.policies.policy import Policy
from gipo_cli.policies.slices import sliced
from gipo_cli.policies.versions import Behaviour, VersionedPolicy
from gipo_cli.training.columns import LARGE, as_column, chunks, every_row, joined, rows_that, rows_where, taken

MOST_VERSIONS = 32  # told apart; a log that names more is cut into so many stretches of neighbouring versions
MOST_JUDGED = 2**18  # rows, at each report; their mean is known to a five-hundredth of their spread


@dataclass(frozen=True)
class Samples:
    """One row a logged step, N rows, all on `device`."""

    observation: Tensor  # [N, O] float32
    action: Tensor  # [N, A] float32, or int64 choices, [N] or [N, A]: what was sampled
    pre_squash: Tensor | None  # [N, A] u with action = tanh(u); none where the policy does not squash
    reward: Tensor  # [N]
    behaviour_log_prob: Tensor  # [N]
    final_observation: Tensor  # [E, O]; what was seen after the last row of each episode
    terminated: Tensor  # [N] bool; nothing follows
    episode_end: Tensor  # [N] bool; the last row of its episode, terminated or cut
    episode: Tensor  # [N] int32
    version: Tensor  # [N] int64 from 0; which of several behaviour policies acted, oldest first
    home: Tensor  # [N] bool; rows of the policy that training starts from: KL, ESS and anchor are measured there
    held_out: Tensor  # [N] bool
    held_in_rows: Tensor  # int64
    held_out_rows: Tensor  # int64
    behaviour_log_prob_parts: Tensor | None = None  # [N, A], of each dimension of the action, where ratios are those

    @property
    def device(self) -> torch.device:
        """Where the log lives."""
        return self.observation.device

    @property
    def gaussian_action(self) -> Tensor:
        """What a Gaussian drew, [N, A]: the action, or the pre-squash action of a squashed policy."""
        return self.action if self.pre_squash is None else self.pre_squash

    @cached_property
    def versions(self) -> int:
        """How many behaviour policies took part."""
        return 1 if _is_one_number(self.version) else max(int(chunk.max()) for chunk in chunks(self.version)) + 1

    @cached_property
    def judged_rows(self) -> Tensor:
        """Held-out rows on which the policy is judged, int64; of many, whole episodes evenly spread over them."""
        rows = self._at_home(self.held_out_rows)
        if len(rows) <= MOST_JUDGED:
            return rows
        place = self.episodes_of(rows).cumsum(0) - 1  # of each episode among those
        return self.of_episodes(rows, place % math.ceil(len(rows) / MOST_JUDGED) == 0)

    def training_rows(self, stale_rows: bool) -> Tensor:
        """Held-in rows that the policy trains on, int64: those of the policy it starts from, or of all."""
        return self.held_in_rows if stale_rows else self._at_home(self.held_in_rows)

    def _at_home(self, rows: Tensor) -> Tensor:
        return rows if _is_one_number(self.home) else rows_that(rows, self.home)

    def episodes_of(self, rows: Tensor) -> Tensor:
        """Whether some of the rows are of an episode, [E] bool."""
        found = torch.zeros(len(self.final_observation), dtype=torch.bool, device=self.device)
        for chunk in chunks(rows):
            found[self.episode[chunk]] = True
        return found

    def of_episodes(self, rows: Tensor, which: Tensor) -> Tensor:
        """Those of some rows that are of certain episodes, [E] bool."""
        count = sum(int(which[self.episode[chunk]].sum()) for chunk in chunks(rows))
        return joined(count, (chunk[which[self.episode[chunk]]] for chunk in chunks(rows)))

    def started_from(self, version: int | None) -> "Samples":
        """The same samples, judged on the rows of one version; on all of them where none is named."""
        if version is None:
            return replace(self, home=_everywhere(self.held_out, torch.bool, 1))
        return replace(self, home=joined(len(self.reward), (chunk == version for chunk in chunks(self.version))))

    def every_row(self) -> Iterator[Tensor]:
        """Numbers of all rows, int64, a chunk at a time."""
        return every_row(len(self.reward), self.device)

    def at_every_row(self, say: Callable[[Tensor], Tensor]) -> Tensor:
        """What `say` says of some rows [B], [B, ...], at every row, [N, ...]; each has to be answered by itself."""
        return joined(len(self.reward), (sliced(say, rows) for rows in self.every_row()))

    def stretches(self, rows: int | None = None) -> Iterator[slice]:
        """Rows of whole episodes, about LARGE or so many at a time: what runs along episodes needs no more at once."""
        starts = np.append(0, rows_where(self.episode_end).cpu().numpy() + 1)
        for first, last in stretches(starts, rows or LARGE):
            yield slice(int(starts[first]), int(starts[last]))

    def next_observation(self, rows: Tensor) -> Tensor:
        """What was seen after each of some rows, [..., O]: the row after it, or what its episode ended with."""
        following = taken(self.observation, (rows + 1).clamp_max(len(self.observation) - 1))
        ends = taken(self.episode_end, rows)
        following[ends] = taken(self.final_observation, taken(self.episode, rows[ends]))
        return following

    def log_ratio(self, policy: Behaviour, rows: Tensor) -> Tensor:
        """Log pi(a|s) - log beta(a|s) of some rows, [B]; carries the policy's gradient."""
        return self.log_prob(policy, rows) - self.behaviour_log_prob[rows]

    def kl_at_home(self, log_ratio: Tensor, rows: Tensor, whole: Tensor) -> Tensor:
        """E[log beta - log pi] over those rows of a batch that are home; 0 where none is. Carries the gradient.

        Args:
            log_ratio: of `rows`.
            rows: the batch, or a share of it, of which this is then the part.
            whole: the batch.
        """
        return -(log_ratio * self.home[rows]).sum() / self.home[whole].sum().clamp_min(1)

    def log_ratio_parts(self, policy: Policy, rows: Tensor) -> Tensor:
        """Log ratio of each dimension of the action, [B, A], whose sum is `log_ratio`; carries the gradient."""
        assert self.behaviour_log_prob_parts is not None
        return self.log_prob_parts(policy, rows) - self.behaviour_log_prob_parts[rows]

    def log_prob_parts(self, policy: Policy, rows: Tensor) -> Tensor:
        """Log pi of each dimension of the action of some rows, [B, A]."""
        pre_squash = None if self.pre_squash is None else self.pre_squash[rows]
        return policy.log_prob_parts(self.observation[rows], self.action[rows], pre_squash)

    def log_prob(self, policy: Behaviour, rows: Tensor) -> Tensor:
        """Log pi(a|s) of some rows, [B]."""
        pre_squash = None if self.pre_squash is None else self.pre_squash[rows]
        if isinstance(policy, VersionedPolicy):
            return policy.log_prob(self.observation[rows], self.action[rows], pre_squash, self.version[rows])
        return policy.log_prob(self.observation[rows], self.action[rows], pre_squash)


def to_samples(log: Trajectories, held_out_fraction: float, seed: int, device: torch.device) -> Samples:
    """Move a log to the device and draw the held-out episodes; which ones depends on the seed alone.

    Raises:
        DataError: fewer than two episodes, so none could be held out.
    """
    if log.episodes < 2:
        raise DataError(
            f"{log.name} has {log.episodes} episode; at least 2 are needed.",
            "One is held out to tell whether what was learned holds beyond the rows it was learned from.",
        )
    version, mixed = _version_of_row(log), log.policy_versions is not None
    episode = _of_every_row(log, np.arange(log.episodes, dtype=np.int32), device)

    def floats(column: np.ndarray) -> Tensor:
        return as_column(column, np.float32, device).reshape(len(column), -1)

    discrete = log.action_space.is_discrete
    action = as_column(log.actions, np.int64, device) if discrete else floats(log.actions)
    pre_squash = None if log.pre_squash_actions is None else floats(log.pre_squash_actions)
    if log.convention == "tanh_gaussian" and pre_squash is None:
        pre_squash = joined(log.transitions, map(invert_tanh, chunks(action)))
    drawn = _held_out(log, version, held_out_fraction, seed, device)
    mask = drawn["held_out"]
    return Samples(
        observation=floats(log.observations),
        action=action,
        pre_squash=pre_squash,
        reward=as_column(log.rewards, np.float32, device),
        behaviour_log_prob=as_column(log.behaviour_log_probs, np.float32, device),
        final_observation=floats(log.final_observations),
        terminated=as_column(log.terminated, np.bool_, device),
        episode_end=joined(log.transitions, (_ends(episode, rows) for rows in every_row(len(episode), device))),
        episode=episode,
        version=as_column(version, np.int64, device) if mixed else _everywhere(mask, torch.int64, 0),
        home=_everywhere(mask, torch.bool, 1),
        **drawn,
    )


def with_held_out(samples: Samples, log: Trajectories, held_out_fraction: float, seed: int) -> Samples:
    """The same samples with the held-out episodes of another seed; no column of the log is copied."""
    version = samples.version.cpu().numpy()
    return replace(samples, **_held_out(log, version, held_out_fraction, seed, samples.device))


def _held_out(
    log: Trajectories, version: np.ndarray, fraction: float, seed: int, device: torch.device
) -> dict[str, Tensor]:
    """The columns of `Samples` that say which rows never train anything; `version` as of `_version_of_row`."""
    of_episode = _draw_held_out(rows_of(version, log.episode_starts[:-1]), fraction, seed)
    held_out = _of_every_row(log, of_episode, device)
    return {
        "held_out": held_out,
        "held_in_rows": rows_where(held_out, holds=False),
        "held_out_rows": rows_where(held_out),
    }


def _everywhere(like: Tensor, dtype: torch.dtype, number: int) -> Tensor:
    """A column as long as another that says the same of every row, and takes the room of one."""
    return torch.full((1,), number, dtype=dtype, device=like.device).expand(len(like))


def _is_one_number(column: Tensor) -> bool:
    return column.stride() == (0,)


def _of_every_row(log: Trajectories, of_episode: np.ndarray, device: torch.device) -> Tensor:
    """What is said of each episode, [E], at every row of it, [N]."""
    lengths, parts = log.episode_lengths, stretches(log.episode_starts)
    repeated = (np.repeat(of_episode[first:last], lengths[first:last]) for first, last in parts)
    return joined(log.transitions, (torch.as_tensor(part, device=device) for part in repeated))


def _ends(episode: Tensor, rows: Tensor) -> Tensor:
    """Whether another episode follows some rows, or none, [B] bool."""
    last = len(episode) - 1
    return (episode[(rows + 1).clamp_max(last)] != episode[rows]) | (rows == last)


def _version_of_row(log: Trajectories) -> np.ndarray:
    """Number of the policy that acted, [N]: that of the log where it names few, else stretches of equal length."""
    if log.policy_versions is None:
        return np.broadcast_to(np.int64(0), log.transitions)
    named = np.unique(np.concatenate([np.unique(block) for _, block in blocks(log.policy_versions)]))
    number = _stretch_of(named, log) if len(named) > MOST_VERSIONS else np.arange(len(named))
    version = scratch((log.transitions,), np.dtype(np.int64))
    for start, block in blocks(log.policy_versions):
        version[start : start + len(block)] = number[np.searchsorted(named, block)]
    return version


def _stretch_of(named: np.ndarray, log: Trajectories) -> np.ndarray:
    """Which of MOST_VERSIONS stretches of the rows, in the order of their versions, each version's first row is in."""
    assert log.policy_versions is not None
    count = np.zeros(len(named), np.int64)
    for _, block in blocks(log.policy_versions):
        count += np.bincount(np.searchsorted(named, block), minlength=len(named))
    first = (count.cumsum() - count) * MOST_VERSIONS // log.transitions
    return np.unique(first, return_inverse=True)[1]


def _draw_held_out(version: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Which episodes are held out, [E]: a share of each version's, and no fewer than a judgement needs if they allow.

    Args:
        version: of the policy that acted, by episode, [E].
        fraction: share of the episodes.
        seed: of the draw.
    """
    order = np.random.default_rng((seed, 0)).permutation(len(version))
    held_out = np.zeros(len(version), bool)
    for k in np.unique(version):
        of = order[version[order] == k]
        wanted = max(round(fraction * len(of)), min(FEWEST_EPISODES, round(len(of) / 3)))
        held_out[of[:wanted]] = True
    if not held_out.any():
        held_out[order[0]] = True
    if held_out.all():
        held_out[order[-1]] = False
    return held_out
