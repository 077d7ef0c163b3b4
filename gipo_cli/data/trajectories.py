"""The record every reader yields and everything else consumes: logged episodes laid end to end."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Literal

import numpy as np

from gipo_cli.data.resident import BLOCK, blocks, trim

Convention = Literal["gaussian", "tanh_gaussian", "categorical", "multi_categorical"]
CONVENTIONS: tuple[str, ...] = ("gaussian", "tanh_gaussian", "categorical", "multi_categorical")
# Where the log-probs come from: the file; a policy that was given; a clone of the behaviour policy; nowhere.
Origin = Literal["recorded", "recomputed", "estimated", "none"]
# One row a step, in the record below.
COLUMNS = (
    "observations", "actions", "rewards", "behaviour_log_probs", "terminated", "truncated",
    "pre_squash_actions", "executed_actions", "policy_versions",
)  # fmt: skip


@dataclass(frozen=True)
class ActionSpace:
    """What actions may be: a box of real numbers, one of `n` choices, or one of `nvec[d]` in each dimension d."""

    shape: tuple[int, ...]
    low: np.ndarray | None = None  # [A], -inf where unbounded; none for a discrete space
    high: np.ndarray | None = None
    n: int | None = None  # number of choices of a discrete space
    nvec: tuple[int, ...] | None = None  # number of choices in each dimension of a multi-discrete one, A of them

    def __post_init__(self) -> None:
        """Bounds of whole numbers become floats, as formats that keep them with the actions give them back."""
        for side in ("low", "high"):
            bound = getattr(self, side)
            if bound is not None and bound.dtype.kind != "f":
                object.__setattr__(self, side, bound.astype(np.float64))

    @property
    def is_discrete(self) -> bool:
        """Whether an action is a choice, or one in each dimension."""
        return self.n is not None or self.nvec is not None

    @property
    def choices(self) -> tuple[int, ...]:
        """Of each dimension; of an action that is one choice, one number; of a box, none."""
        return self.nvec or (() if self.n is None else (self.n,))

    @property
    def dimensions(self) -> tuple[int, ...]:
        """As a policy's spec has them: choices of each dimension where there are several, else one size."""
        return self.nvec or (self.size,)

    @property
    def size(self) -> int:
        """Numbers that a policy names an action's distribution by: dimensions of a box, or choices in all."""
        return sum(self.choices) if self.is_discrete else int(np.prod(self.shape))


def space_of_choices(actions: np.ndarray, told: Sequence[int] | None) -> ActionSpace:
    """The space of discrete actions, each counted from 0, [N] or [N, A].

    Args:
        actions: as logged.
        told: choices of each dimension (of one choice, a single number), where they are known. What does not fit the
            shape of the actions counts as not known; the choices are then those that were made.
    """
    dimensions = 1 if actions.ndim == 1 else actions.shape[1]
    made = [largest + 1 for largest in actions.reshape(-1, dimensions).max(0, initial=0).tolist()]  # 2^63 is no int64
    choices = made if told is None or len(told) != dimensions else told
    return ActionSpace((), n=choices[0]) if actions.ndim == 1 else ActionSpace(actions.shape[1:], nvec=tuple(choices))


@dataclass(frozen=True)
class BehaviourWeights:
    """The network of the policy that made the log, where the file carries it.

    `arrays` has D4RL's names: fc0/weight [out, in], fc0/bias, ..., last_fc/weight, last_fc/bias and either
    last_fc_log_std/{weight,bias} (a standard deviation that depends on the state) or log_std [A] (one that does not);
    observation_mean and observation_variance where the policy standardised what it saw.
    """

    arrays: dict[str, np.ndarray]
    nonlinearity: Literal["relu", "tanh"]
    output_distribution: Convention
    observation_clip: float | None = None  # after standardisation, in standard deviations
    observation_epsilon: float = 1e-8  # added to the variance before the square root
    log_std_bounds: tuple[float, float] | None = None  # a state-dependent log standard deviation is clipped to these
    choices: tuple[int, ...] = ()  # logits of each dimension of a multi_categorical policy, which last_fc has in a row

    def __post_init__(self) -> None:
        """Leave out single numbers, as SAC's temperature is: they are no layer."""
        object.__setattr__(self, "arrays", {name: array for name, array in self.arrays.items() if array.shape})


@dataclass(frozen=True)
class Trajectories:
    """Logged episodes laid end to end, one row a step; N rows, E episodes.

    The next observation of a step is the row after it, or the episode's final observation for its last row. A
    truncated step is not an end: its value is bootstrapped. `terminated` alone says that nothing follows.
    """

    name: str
    source: str  # the file or directory it was read from
    observations: np.ndarray  # [N, *O] what the behaviour policy saw
    # [N, A] float, [N] int, or [N, A] int: what was sampled, before any clipping by the environment
    actions: np.ndarray
    rewards: np.ndarray  # [N]
    # [N] natural log of beta(a|s), a density for continuous actions; [N, A] where the file has one a dimension, which
    # the checks refuse until it is summed; nan where the file has none (log_probs_origin is then "none").
    behaviour_log_probs: np.ndarray
    terminated: np.ndarray  # [N] bool
    truncated: np.ndarray  # [N] bool
    final_observations: np.ndarray  # [E, *O]
    episode_starts: np.ndarray  # [E + 1] int64; the last is N
    action_space: ActionSpace
    convention: Convention
    environment: str | None = None
    pre_squash_actions: np.ndarray | None = None  # [N, A], u with a = tanh(u)
    executed_actions: np.ndarray | None = (
        None  # [N, A] what the environment was given, where it is not what was sampled
    )
    policy_versions: np.ndarray | None = None  # [N] age of the behaviour policy
    behaviour_weights: BehaviourWeights | None = None
    log_probs_origin: Origin = "recorded"
    repairs: tuple[str, ...] = ()  # names of the repairs that were applied
    notes: tuple[str, ...] = ()  # what the reader mended or assumed, in words

    @property
    def transitions(self) -> int:
        """Number of logged steps, N."""
        return len(self.rewards)

    @property
    def episodes(self) -> int:
        """Number of logged episodes, E."""
        return len(self.episode_starts) - 1

    def columns(self) -> dict[str, np.ndarray]:
        """The columns of one row a step that this log has, by name."""
        return {name: column for name in COLUMNS if (column := getattr(self, name)) is not None}

    @property
    def episode_lengths(self) -> np.ndarray:
        """Steps of each episode, [E]."""
        return np.diff(self.episode_starts)

    @property
    def episode_of_step(self) -> np.ndarray:
        """Index of the episode that each row belongs to, [N]."""
        return np.repeat(np.arange(self.episodes), self.episode_lengths)

    @property
    def episode_returns(self) -> np.ndarray:
        """Undiscounted return of each episode, [E], in units of reward."""
        starts = self.episode_starts
        found = np.empty(self.episodes)
        for first, last in stretches(starts):
            rewards = self.rewards[starts[first] : starts[last]].astype(np.float64)
            found[first:last] = np.add.reduceat(rewards, starts[first:last] - starts[first])
            trim()
        return found

    def next_observations(self) -> np.ndarray:
        """The observation after each step, [N, *O]; never one of another episode."""
        following = np.empty_like(self.observations)
        following[:-1] = self.observations[1:]
        following[self.episode_starts[1:] - 1] = self.final_observations
        return following

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of all that training depends on: the same numbers give the same one, however a file stores them.

        Columns are hashed in float64, int64 or one byte, little-endian: a float32 reward and the same number in
        float64 are one reward. The name, the source and the notes are left out.
        """
        digest = hashlib.sha256()
        space, weights = self.action_space, self.behaviour_weights
        words = (self.convention, self.log_probs_origin, self.environment or "", space.shape, space.n)
        # Only where there are several: logs of other kinds keep the fingerprint that they always had.
        digest.update(repr(words if space.nvec is None else (*words, space.nvec)).encode())
        bounds = {"low": space.low, "high": space.high}
        columns = {field.name: getattr(self, field.name) for field in fields(self)} | bounds
        if weights is not None:
            clip, epsilon, limits = weights.observation_clip, weights.observation_epsilon, weights.log_std_bounds
            digest.update(repr((weights.nonlinearity, weights.output_distribution, clip, epsilon, limits)).encode())
            columns |= {f"weights/{name}": weights.arrays[name] for name in sorted(weights.arrays)}
        for name, column in columns.items():
            if isinstance(column, np.ndarray):
                _add(digest, name, column)
        return f"sha256:{digest.hexdigest()}"


def stretches(starts: np.ndarray, rows: int = 16 * BLOCK) -> Iterator[tuple[int, int]]:
    """Episodes [first, last) that have at least so many rows together; the last of them what is left.

    Args:
        starts: row where each episode begins, and the number of rows, [E + 1].
        rows: that are wanted.
    """
    first, episodes = 0, len(starts) - 1
    while first < episodes:
        last = min(int(np.searchsorted(starts, starts[first] + rows)), episodes)
        yield first, last
        first = last


def _add(digest: "hashlib._Hash", name: str, column: np.ndarray) -> None:
    canonical = {"f": "<f8", "i": "<i8", "u": "<i8", "b": "|u1"}[column.dtype.kind]
    digest.update(f"{name} {canonical} {column.shape}".encode())
    for _, block in blocks(column):
        digest.update(np.ascontiguousarray(block, dtype=canonical).data)
