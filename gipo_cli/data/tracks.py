"""Episodes as they happen: rows added one by one, and a log made of them."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gipo_cli.data.trajectories import ActionSpace, BehaviourWeights, Convention, Trajectories
from gipo_cli.errors import DataError

PACKED = 4096  # rows that become one array, so that a long recording does not stay as so many small ones
COLUMNS = (
    "observations", "actions", "rewards", "behaviour_log_probs", "terminated", "truncated",
    "pre_squash_actions", "executed_actions", "policy_versions",
)  # fmt: skip
TYPES = {"terminated": bool, "truncated": bool, "policy_versions": np.int64}


@dataclass(slots=True)
class Row:
    """One step: what was seen, sampled, earned, and how likely the sampled action was."""

    observation: Any
    action: Any  # as it was sampled
    reward: float
    log_prob: float
    terminated: bool
    truncated: bool
    pre_squash: Any = None
    executed: Any = None  # what the environment was given, where it may be another action
    version: int | None = None


@dataclass
class Track:
    """What one environment has recorded: columns of rows, and where its episodes end."""

    rows: list[Row] = field(default_factory=list)
    blocks: list[dict[str, np.ndarray]] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    final: list[np.ndarray] = field(default_factory=list)
    steps: int = 0  # of ended episodes
    added: int = 0
    following: Any = None  # the observation after the last row

    def add(self, row: Row, following: Any) -> None:
        """Add a step and the observation after it; a step that ends the episode ends it here too."""
        self.rows.append(row)
        self.added += 1
        self.following = np.array(following, np.float32)
        if row.terminated or row.truncated:
            self._end()
        elif len(self.rows) == PACKED:
            self._pack(PACKED - 1)  # the last row stays, since it may yet become the end

    def cut(self) -> None:
        """End the episode under way, where there is one, as one that would have gone on."""
        if self.added > self.steps:
            self.rows[-1].truncated = True
            self._end()

    def _end(self) -> None:
        self.lengths.append(self.added - self.steps)
        self.final.append(self.following)
        self.steps = self.added
        if len(self.rows) >= PACKED:
            self._pack(len(self.rows))

    def _pack(self, count: int) -> None:
        rows, self.rows = self.rows[:count], self.rows[count:]
        if rows:
            self.blocks.append(_columns(rows))

    def columns(self) -> list[dict[str, np.ndarray]]:
        """All rows, in blocks."""
        self._pack(len(self.rows))
        return self.blocks


def _columns(rows: list[Row]) -> dict[str, np.ndarray]:
    values = (
        [row.observation for row in rows], [row.action for row in rows], [row.reward for row in rows],
        [row.log_prob for row in rows], [row.terminated for row in rows], [row.truncated for row in rows],
        [row.pre_squash for row in rows], [row.executed for row in rows], [row.version for row in rows],
    )  # fmt: skip
    columns = {}
    for name, column in zip(COLUMNS, values, strict=True):
        missing = sum(value is None for value in column)
        if missing == 0:
            columns[name] = np.array(column, TYPES.get(name))
        elif missing < len(column):
            raise DataError(f"{missing} of {len(column)} recorded steps have no {name}; expected all or none.")
    return columns


def log_of(
    tracks: list[Track],
    space: ActionSpace,
    *,
    name: str,
    environment_id: str | None,
    convention: Convention,
    weights: BehaviourWeights | None = None,
) -> Trajectories:
    """The ended episodes of several tracks as one log, a track after the other.

    Executed actions are kept where any of them is not the sampled one.

    Raises:
        DataError: there is no ended episode; or a column was given for some steps and not for others.
    """
    blocks = [block for track in tracks for block in track.columns()]
    lengths = [length for track in tracks for length in track.lengths]
    if not lengths:
        raise DataError("nothing was recorded: not one step was taken.")
    names = {frozenset(block) for block in blocks}
    if len(names) > 1:
        odd = sorted(frozenset.union(*names) - frozenset.intersection(*names))
        raise DataError(f"some recorded steps have {', '.join(odd)} and some have not; expected all or none.")
    column = {key: np.concatenate([block[key] for block in blocks]) for key in blocks[0]}
    acted = np.int64 if space.is_discrete else np.float32
    actions = column["actions"].astype(acted)
    executed = column.get("executed_actions")
    if executed is not None:
        executed = executed.astype(acted)
        executed = None if np.array_equal(executed, actions) else executed.reshape(len(actions), -1)
    squashed = column.get("pre_squash_actions")
    return Trajectories(
        name=name,
        source="recorded",
        observations=column["observations"].astype(np.float32),
        actions=actions,
        rewards=column["rewards"].astype(np.float32),
        behaviour_log_probs=column["behaviour_log_probs"].astype(np.float32),
        terminated=column["terminated"],
        truncated=column["truncated"],
        final_observations=np.stack([final for track in tracks for final in track.final]).astype(np.float32),
        episode_starts=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        action_space=space,
        convention=convention,
        environment=environment_id,
        pre_squash_actions=None if squashed is None else squashed.astype(np.float32),
        executed_actions=executed,
        policy_versions=column.get("policy_versions"),
        behaviour_weights=weights,
    )
