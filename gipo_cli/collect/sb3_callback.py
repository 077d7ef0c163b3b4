"""A callback of Stable-Baselines3 that records, during training, every step with the log-prob of its action."""

import math
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from stable_baselines3 import SAC
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.vec_env import VecNormalize, unwrap_vec_normalize

from gipo_cli.data.recording import logged_space
from gipo_cli.data.tracks import Row, Track, log_of
from gipo_cli.data.trajectories import Convention, Trajectories
from gipo_cli.data.writers.d4rl import refuse_existing, write
from gipo_cli.errors import DataError, SettingError
from gipo_cli.policies.acting import choices_of, space_of
from gipo_cli.policies.distributions import pre_squash, tanh_gaussian_log_prob
from gipo_cli.policies.stable_baselines3 import from_model
from gipo_cli.policies.weights import save_policy

TANH_ROUNDING = 1e-5  # between tanh(u) and the action that SB3 scaled to the bounds and back, in float32


class LogProbCallback(BaseCallback):
    """Records the training of PPO, A2C (and their kin) or SAC; writes the log when training ends.

        model.learn(100_000, callback=LogProbCallback("log.hdf5"))

    What is recorded of a step is what the algorithm acted on. PPO's log-prob is of the action it sampled, and the
    environment gets that one clipped: both are kept. Rewards are the environment's own; the rollout buffer's are not,
    since PPO adds the bootstrapped value to the last reward of an episode that a limit cut. Observations and rewards
    behind VecNormalize are recorded as the environment gave them. policy_versions count the updates that were made
    before the step; a SAC log's version 0 is the warm-up, whose actions are uniform.
    """

    def __init__(self, path: str | Path, environment: str | None = None) -> None:
        """Record into a new file.

        Args:
            path: HDF5 file to write; must not exist.
            environment: Gymnasium's name of it, where the environment itself does not know.
        """
        super().__init__()
        self._path = Path(path)
        self._environment = environment
        self._tracks: list[Track] = []
        self._observed: Any = None  # before the step, as the environment gave it

    def _init_callback(self) -> None:
        """Refuse what has no log-probs that could be recorded, before any step is taken.

        Raises:
            SettingError: the path is taken; or the algorithm's actions have no density, or another than its actor's.
        """
        refuse_existing(self._path)
        model, space = cast(Any, self.model), space_of(self.training_env, self._name() or "the environment")
        self._on_policy = isinstance(model, OnPolicyAlgorithm)
        what = type(model).__name__
        if not self._on_policy and not isinstance(model, SAC):
            raise SettingError(f"the actions of {what} have no log-probs.", "PPO, A2C and SAC have.")
        if model.use_sde:
            raise SettingError(
                f"{what} explores with gSDE, whose noise is not drawn anew at every step.", "Turn it off."
            )
        if getattr(model, "action_noise", None) is not None:
            raise SettingError("action_noise changes the density of the actor's actions.", "Train without it.")
        discrete: Convention = "multi_categorical" if space.shape else "categorical"
        self._convention: Convention = discrete if choices_of(space) else "gaussian"
        if not self._on_policy:
            self._convention = "tanh_gaussian"

    def _on_training_start(self) -> None:
        self._cut()
        self._tracks += [Track() for _ in range(self.training_env.num_envs)]
        self._running = self._tracks[-self.training_env.num_envs :]
        normalised = self._normalisation()
        seen = cast(Any, self.model)._last_obs if normalised is None else normalised.get_original_obs()
        self._observed = np.array(seen, np.float32)

    def _on_step(self) -> bool:
        if self._on_policy:
            sampled, log_probs, squashed, executed, version = self._of_rollout()
        else:
            sampled, log_probs, squashed, executed, version = self._of_actor()
        normalised = self._normalisation()
        following = self.locals["new_obs"] if normalised is None else normalised.get_original_obs()
        rewards = self.locals["rewards"] if normalised is None else normalised.get_original_reward()
        following, rewards = np.asarray(following), np.asarray(rewards)
        for i, (done, info) in enumerate(zip(self.locals["dones"], self.locals["infos"], strict=True)):
            truncated = bool(done) and bool(info.get("TimeLimit.truncated", False))
            row = Row(
                self._observed[i], np.array(sampled[i]), float(rewards[i]), float(log_probs[i]),
                bool(done) and not truncated, truncated, None if squashed is None else squashed[i],
                np.array(executed[i]), version,
            )  # fmt: skip
            # A VecEnv has reset already: what it returns after an end is the next episode's first observation.
            after = info["terminal_observation"] if done else following[i]
            if done and normalised is not None:
                after = normalised.unnormalize_obs(after)
            self._running[i].add(row, after)
        self._observed = np.array(following, np.float32)
        return True

    def _of_rollout(self) -> tuple[Any, Any, None, Any, int]:
        """What PPO and A2C sampled, its log-prob, and what the environment got, [n_envs, ...]."""
        locals_, model = self.locals, cast(Any, self.model)
        actions = locals_["actions"]
        if self._convention == "categorical":
            actions = actions.reshape(len(actions))
        log_probs = locals_["log_probs"].detach().cpu().numpy()
        return actions, log_probs, None, locals_["clipped_actions"].reshape(actions.shape), model._n_updates

    def _of_actor(self) -> tuple[Any, Any, Any, Any, int]:
        """What SAC's actor sampled in [-1, 1], its log-prob, u with a = tanh(u), and what the environment got.

        SB3 keeps the distribution it sampled from and u itself. Its own log-prob has 1e-6 added in the Jacobian's
        logarithm, so it is computed here, without.
        """
        model = cast(Any, self.model)
        sampled, executed = self.locals["buffer_actions"], self.locals["actions"]
        if model.num_timesteps - self.training_env.num_envs < model.learning_starts:
            uniform = np.full(len(sampled), -sampled.shape[1] * math.log(2))
            return sampled, uniform, pre_squash(torch.as_tensor(sampled)).numpy(), executed, 0
        drawn = model.actor.action_dist
        u = drawn.gaussian_actions.detach().cpu().double()
        if not np.allclose(torch.tanh(u).numpy(), sampled, atol=TANH_ROUNDING):
            raise DataError("the action is not the one that SAC's actor sampled last; its log-prob is not known.")
        mean, deviation = (x.detach().cpu().double() for x in (drawn.distribution.mean, drawn.distribution.stddev))
        log_probs = tanh_gaussian_log_prob(mean, deviation.log(), u).numpy()
        return torch.tanh(u).float().numpy(), log_probs, u.float().numpy(), executed, 1 + model._n_updates

    def _on_training_end(self) -> None:
        self.save()

    def save(self) -> None:
        """Write what was recorded so far; for a training that an exception or Ctrl-C ended.

        Raises:
            SettingError: the file exists or cannot be written.
            DataError: not one step was taken.
        """
        import stable_baselines3

        model = self.model
        origin: dict[str, str | int] = {
            "recorder": "gipo_cli.collect.LogProbCallback",
            "algorithm": type(model).__name__,
            "stable_baselines3": stable_baselines3.__version__,
        }
        write(self.log(), self._path, origin)

    def log(self) -> Trajectories:
        """What was recorded so far; episodes under way count as cut by a limit.

        Raises:
            DataError: not one step was taken.
        """
        self._cut()
        return log_of(
            self._tracks,
            logged_space(self.training_env.action_space, self._convention),
            name=self._path.stem,
            environment_id=self._name(),
            convention=self._convention,
        )

    def _cut(self) -> None:
        for track in self._tracks:
            track.cut()

    def _normalisation(self) -> VecNormalize | None:
        return unwrap_vec_normalize(self.training_env)

    def _name(self) -> str | None:
        if self._environment:
            return self._environment
        spec = self.training_env.get_attr("spec")[0]
        return spec.id if spec is not None else None


def save_policy_of(model: Any, path: str | Path) -> None:
    """Write a live Stable-Baselines3 model's policy as .safetensors; it acts on raw observations.

    The statistics of a VecNormalize around its environment become part of the policy.

    Raises:
        SettingError: the path exists.
        DataError: the policy cannot be rebuilt exactly.
    """
    refuse_existing(Path(path))
    policy = from_model(model)
    spec = model.get_env().get_attr("spec")[0] if model.get_env() is not None else None
    metadata = {"algorithm": type(model).__name__, "steps": str(model.num_timesteps)}
    save_policy(policy, Path(path), metadata | ({} if spec is None else {"environment": spec.id}))
