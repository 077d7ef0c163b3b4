"""Record a log from policies that act: what was sampled, and exactly how likely it was."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from gipo_cli import __version__
from gipo_cli.data.tracks import Row, Track, log_of
from gipo_cli.data.trajectories import ActionSpace, Trajectories
from gipo_cli.errors import SettingError
from gipo_cli.policies.acting import choices_of, given_to, require_fit, rescales
from gipo_cli.policies.policy import Policy, PolicySpec
from gipo_cli.policies.weights import weights_of


class Acts(Protocol):
    """What the recorder asks of a policy."""

    spec: PolicySpec
    is_discrete: bool

    def sample(self, observation: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor | None]:
        """Action, its log-prob, and the pre-squash action or none, of each row."""
        ...


@dataclass(frozen=True)
class Behaviour:
    """A policy that is to act, and where it is from."""

    policy: Acts
    name: str
    sha256: str = ""  # of the file that holds its weights
    metadata: Mapping[str, str] = field(default_factory=dict)  # what that file says of its making


def record(
    policies: Sequence[Acts],
    environments: list[Any],
    *,
    name: str,
    environment_id: str,
    steps: int,
    seed: int,
    on_steps: Callable[[int], None],
) -> Trajectories:
    """Step environments side by side, one batched forward pass a step, until `steps` are recorded.

    Every environment goes on to the end of the episode in which it reaches its share of the steps, so no episode is
    cut by the recorder and short episodes are not favoured. The action that is stored is the one that was sampled, and
    the log-prob is of that one; what the environment was given is `acting.given_to` of it, and stored too where it is
    another anywhere.

    Several policies record one after the other, an equal share each, and policy i's steps get policy_versions i; the
    log then carries no weights. One policy leaves its weights in the log, and no versions.

    Args:
        policies: act on raw observations, float32; all of one convention.
        environments: Gymnasium environments of one kind, with Box, Discrete or MultiDiscrete actions.
        name: of the log.
        environment_id: as Gymnasium knows it.
        steps: at least so many are recorded.
        seed: of the policies' noise and of every reset.
        on_steps: called with the number of steps just recorded.

    Raises:
        SettingError: the environment has actions or observations of a kind that no policy here has; or the policies
            are of several conventions.
        DataError: a policy does not fit the environment.
    """
    for i, policy in enumerate(policies):
        require_fit(policy, environments[0], "the policy" if len(policies) == 1 else f"policy {i}")
    convention: Any = _one_convention(policies)
    several = len(policies) > 1
    tracks: list[Track] = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums in one order: the same seed gives the same bytes on any number of cores
    try:
        for i, policy in enumerate(policies):
            tracks += _act(
                policy, environments, steps=-(-steps // len(policies)), version=i if several else None,
                entropy=(seed, i) if several else (seed,), on_steps=on_steps,
            )  # fmt: skip
    finally:
        torch.set_num_threads(threads)
    return log_of(
        tracks,
        logged_space(environments[0].action_space, convention),
        name=name,
        environment_id=environment_id,
        convention=convention,
        weights=weights_of(policies[0]) if len(policies) == 1 and isinstance(policies[0], Policy) else None,
    )


def _one_convention(policies: Sequence[Acts]) -> str:
    found = list(dict.fromkeys(policy.spec.distribution for policy in policies))
    if len(found) > 1:
        raise SettingError(
            f"the policies are of several kinds: {', '.join(found)}.",
            "The log-probs of one log are of one density; record a log for each kind.",
        )
    return found[0]


def _act(
    policy: Acts,
    environments: list[Any],
    *,
    steps: int,
    version: int | None,
    entropy: tuple[int, ...],
    on_steps: Callable[[int], None],
) -> list[Track]:
    """One policy's share of the steps, a track for each environment."""
    space, distribution = environments[0].action_space, policy.spec.distribution
    share = -(-steps // len(environments))
    seed, *rung = entropy  # a single policy's noise is seeded by the seed itself, a ladder's by seed and version
    noise = torch.Generator().manual_seed(_seed(np.random.SeedSequence(entropy)) if rung else seed)
    resets = [np.random.SeedSequence((*entropy, i)) for i in range(len(environments))]
    observations = [_reset(env, seeds) for env, seeds in zip(environments, resets, strict=True)]
    tracks = [Track() for _ in environments]
    running = list(range(len(environments)))
    while running:
        batch = torch.as_tensor(np.stack([observations[i] for i in running]))
        sampled, log_prob, pre_squash = (
            None if column is None else column.numpy()
            for column in policy.sample(batch.reshape(len(running), -1), noise)
        )
        assert sampled is not None and log_prob is not None
        given = given_to(space, distribution, sampled)
        for place, i in enumerate(list(running)):
            action = int(given[place]) if given.ndim == 1 else given[place]
            following, reward, terminated, truncated, _ = environments[i].step(action)
            row = Row(
                observations[i], sampled[place], float(reward), float(log_prob[place]), bool(terminated),
                bool(truncated) and not terminated, None if pre_squash is None else pre_squash[place], action, version,
            )  # fmt: skip
            observations[i] = np.asarray(following, np.float32)
            tracks[i].add(row, following)
            if terminated or truncated:
                observations[i] = _reset(environments[i], resets[i])
                if tracks[i].steps >= share:
                    running.remove(i)
        on_steps(len(batch))
    return tracks


def origin_of(behaviours: Sequence[Behaviour], *, seed: int, environments: int) -> dict[str, str | int]:
    """How a log was made, as attributes of its file: the policies in order of their versions, seed, and libraries."""
    if len(behaviours) == 1:
        only = behaviours[0]
        origin: dict[str, str | int] = {
            "policy": only.name,
            "policy_sha256": only.sha256,
            "algorithm": only.metadata.get("algorithm", ""),
            "policy_training_steps": only.metadata.get("steps", ""),
        }
    else:
        digits = len(str(len(behaviours) - 1))  # so that names sort as versions do
        origin = {f"policy_{i:0{digits}}": _described(behaviour) for i, behaviour in enumerate(behaviours)}
    origin |= {"seed": seed, "environments": environments, "gipo": __version__}
    for package in ("gymnasium", "mujoco", "torch", "numpy"):
        try:
            origin[package] = version(package)
        except PackageNotFoundError:
            continue
    return origin


def _described(behaviour: Behaviour) -> str:
    algorithm, steps = behaviour.metadata.get("algorithm", ""), behaviour.metadata.get("steps", "")
    parts = [behaviour.name, algorithm, f"{steps} steps" if steps else "", behaviour.sha256]
    return ", ".join(part for part in parts if part)


def logged_space(space: Any, convention: str) -> ActionSpace:
    """The space of the actions as they are logged: [-1, 1] where a squashed policy's are stretched to the bounds."""
    if choices := choices_of(space):
        return ActionSpace(space.shape, nvec=choices) if space.shape else ActionSpace((), n=choices[0])
    if rescales(space, convention):
        return ActionSpace(space.shape, np.full(space.shape, -1, np.float32), np.ones(space.shape, np.float32))
    return ActionSpace(space.shape, space.low.astype(np.float32), space.high.astype(np.float32))


def _reset(environment: Any, seeds: np.random.SeedSequence) -> np.ndarray:
    return np.asarray(environment.reset(seed=_seed(seeds.spawn(1)[0]))[0], np.float32)


def _seed(sequence: np.random.SeedSequence) -> int:
    return int(sequence.generate_state(1)[0])
