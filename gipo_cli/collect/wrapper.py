"""A Gymnasium wrapper that records what passes through it, with the log-probs that its user hands in."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import gymnasium
import numpy as np

from gipo_cli.data.log_probs import DISCRETE
from gipo_cli.data.recording import logged_space
from gipo_cli.data.tracks import Row, Track, log_of
from gipo_cli.data.trajectories import CONVENTIONS, Convention, Trajectories
from gipo_cli.data.writers.d4rl import refuse_existing, write
from gipo_cli.errors import DataError, SettingError, unknown_name
from gipo_cli.policies.acting import choices_of, space_of


class RecordLogProbs(gymnasium.Wrapper):
    """Records a log that `gipo train --dataset` reads.

        env = RecordLogProbs(gymnasium.make("Pendulum-v1"), "log.hdf5", convention="gaussian")
        observation, _ = env.reset()
        action, log_prob = my_policy(observation)
        env.log_prob(log_prob, action=action)           # natural log of the density of what was *sampled*
        env.step(numpy.clip(action, -2, 2))             # what is executed is recorded too
        env.close()                                     # writes log.hdf5

    Put it outermost: what it sees must be what the policy sees. The episode that is under way when the log is written
    counts as cut by a limit.
    """

    def __init__(
        self,
        env: gymnasium.Env,
        path: str | Path | None = None,
        *,
        convention: str | None = None,
        policy_log_prob: Callable[[Any, Any], float] | None = None,
    ) -> None:
        """Wrap an environment with Box observations and Discrete, flat MultiDiscrete or flat Box actions.

        Args:
            env: to record.
            path: HDF5 file that `close` writes; must not exist. None: call `save` yourself.
            convention: density of the log-probs: gaussian, tanh_gaussian (the action is tanh of a Gaussian, in
                [-1, 1]); categorical is that of Discrete actions, multi_categorical that of MultiDiscrete ones.
            policy_log_prob: (observation, action) -> natural log of beta(a|s), where that can be computed from what
                passes through; else hand each in with `log_prob`.

        Raises:
            SettingError: the path is taken, the spaces are of another kind, or the convention is none.
        """
        super().__init__(env)
        space = space_of(env)
        self._path = Path(path) if path is not None else None
        if self._path is not None:
            refuse_existing(self._path)
        self._convention: Convention = _convention(convention, space)
        self._policy_log_prob = policy_log_prob
        self._start = getattr(space, "start", 0)  # of the choices of each dimension, where there are several
        self._track = Track()
        self._observation: Any = None
        self._handed: tuple[float, Any, Any, int | None] | None = None

    def log_prob(
        self, log_prob: float, *, action: Any = None, pre_squash: Any = None, version: int | None = None
    ) -> None:
        """Hand in the log-prob of the action that the next `step` takes.

        Args:
            log_prob: natural log of beta(a|s), summed over the dimensions of the action.
            action: what was sampled, where `step` is given another (clipped, rescaled); choices count from 0.
            pre_squash: u of a squashed action a = tanh(u), so that saturated actions lose nothing.
            version: of the policy, where it changes in the course of the log.
        """
        self._handed = (float(log_prob), action, pre_squash, version)

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        """Begin an episode; one that was under way counts as cut."""
        self._track.cut()
        self._handed = None
        observation, info = self.env.reset(**options)
        self._observation = np.array(observation, np.float32)
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Take a step and record it.

        Raises:
            DataError: no log-prob was handed in for it, or one that is not finite.
        """
        log_prob, sampled, pre_squash, version = self._likelihood(action)
        result = self.env.step(action)
        following, reward, terminated, truncated, _ = result
        row = Row(
            self._observation, np.array(sampled), float(reward), log_prob, bool(terminated),
            bool(truncated) and not terminated, None if pre_squash is None else np.array(pre_squash, np.float32),
            np.array(action), version,
        )  # fmt: skip
        self._track.add(row, following)
        self._observation, self._handed = np.array(following, np.float32), None
        return result

    def _likelihood(self, action: Any) -> tuple[float, Any, Any, int | None]:
        if self._handed is not None:
            log_prob, sampled, pre_squash, version = self._handed
        elif self._policy_log_prob is not None:
            log_prob, sampled, pre_squash, version = self._policy_log_prob(self._observation, action), None, None, None
        else:
            raise DataError(
                "this step has no log-prob.", "Call env.log_prob(log_prob) before env.step, or give policy_log_prob."
            )
        if not np.isfinite(log_prob):
            raise DataError(f"the log-prob of this step is {log_prob}; expected a finite number.")
        if sampled is None:
            sampled = action - self._start if self._convention in DISCRETE else action
        return float(log_prob), sampled, pre_squash, version

    def log(self) -> Trajectories:
        """What was recorded so far; the episode under way is cut here, and its rest becomes another one.

        Raises:
            DataError: nothing was recorded; or log-probs, versions or pre-squash actions were handed in for some
                steps only.
        """
        self._track.cut()
        return log_of(
            [self._track],
            logged_space(self.env.action_space, self._convention),
            name=self._path.stem if self._path else "recorded",
            environment_id=self.env.spec.id if self.env.spec else None,
            convention=self._convention,
        )

    def save(self, path: str | Path) -> None:
        """Write what was recorded so far to a new file.

        Raises:
            SettingError: the path exists or cannot be written.
            DataError: as `log`.
        """
        write(self.log(), Path(path), {"recorder": "gipo_cli.collect.RecordLogProbs"})

    def close(self) -> None:
        """Write the log, where it has a path and any step, and close the environment."""
        if self._path is not None and self._track.added:
            self.save(self._path)
            self._path = None  # closing twice is no error
        self.env.close()


def _convention(named: str | None, space: Any) -> Convention:
    discrete = bool(choices_of(space))
    fitting: Convention = "multi_categorical" if space.shape else "categorical"
    if named is None and discrete:
        return fitting
    if named is None:
        raise SettingError(
            "the density of the log-probs is not named, and that of a real action cannot be guessed.",
            "Name it: convention='gaussian', or 'tanh_gaussian' where the action is tanh of a Gaussian.",
        )
    if named not in CONVENTIONS:
        raise unknown_name("log-prob convention", named, CONVENTIONS)
    if named != fitting if discrete else named in DISCRETE:
        raise SettingError(f"the convention {named} does not fit {_kind(space)}.")
    return cast(Convention, named)


def _kind(space: Any) -> str:
    if not choices_of(space):
        return "real numbers"
    return "a choice in each dimension" if space.shape else "choices"
