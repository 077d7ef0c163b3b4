"""The part of a log that the checks of its log-probs look at: whole episodes, evenly drawn."""

from dataclasses import dataclass

import numpy as np

from gipo_cli.data.log_prob_errors import Surroundings, log_jacobian, log_scale
from gipo_cli.data.trajectories import Trajectories

# An action nearer to a bound than this has a pre-squash value that float32 knows too badly to compare densities.
LARGEST_UNSQUASHED = 0.999
LONGEST = 5


@dataclass(frozen=True)
class Sample:
    """Some whole episodes of a log; n rows."""

    observations: np.ndarray  # [n, O] float32
    actions: np.ndarray  # [n, A] float32 or [n] int64
    pre_squash: np.ndarray | None  # [n, A], recovered from the action where the log has none; none if not squashed
    values: np.ndarray  # [n] float64: what stands where the log-probs should be
    around: Surroundings
    usable: np.ndarray  # [n] bool: not so near a bound that its density is rounding
    episode: np.ndarray  # [n] index within the sample
    age: np.ndarray  # [n] in [-1, 1]: the policy's version, or the place in the log where there is none


def draw(log: Trajectories, rows: int, episodes: int = 1) -> Sample:
    """Whole episodes spread evenly over the log, until they have at least so many rows (or all of them).

    Long ones go on until there are so many, but not beyond `LONGEST` times the rows.
    """
    lengths, starts = log.episode_lengths, log.episode_starts.tolist()
    order = np.argsort(np.arange(log.episodes) * 0.6180339887498949 % 1)  # every stretch of it is spread evenly
    drawn = np.cumsum(lengths[order])
    enough = int(np.searchsorted(drawn, rows)) + 1
    count = max(enough, min(episodes, int(np.searchsorted(drawn, LONGEST * rows, "right"))))
    chosen = np.sort(order[:count])
    index = np.concatenate([np.arange(starts[e], starts[e + 1]) for e in chosen.tolist()])
    episode = np.repeat(np.arange(len(chosen)), lengths[chosen])
    first = np.diff(episode, prepend=-1) != 0
    discrete = log.action_space.is_discrete
    actions = np.asarray(log.actions[index], np.int64 if discrete else np.float32)
    pre_squash, usable, jacobian = None, np.ones(len(index), bool), None
    if log.convention == "tanh_gaussian":
        pre_squash = log.pre_squash_actions
        if pre_squash is not None:
            pre_squash = np.asarray(pre_squash[index], np.float32)
        else:
            usable = np.all(np.abs(actions) < LARGEST_UNSQUASHED, axis=-1)
            pre_squash = np.arctanh(np.clip(actions, -1 + 2**-24, 1 - 2**-24))
        jacobian = log_jacobian(pre_squash)
    age = log.policy_versions[index] if log.policy_versions is not None else index
    spread = max(float(np.ptp(age)), 1.0)
    return Sample(
        observations=np.asarray(log.observations[index], np.float32).reshape(len(index), -1),
        actions=actions,
        pre_squash=pre_squash,
        values=np.asarray(log.behaviour_log_probs[index], np.float64),
        around=Surroundings(first, np.append(first[1:], True), jacobian, log_scale(log)),
        usable=usable,
        episode=episode,
        age=2 * (age - age.min()) / spread - 1,
    )
