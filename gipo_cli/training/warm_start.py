"""Where training starts: as close to the behaviour policy as the log allows."""

import copy
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from gipo_cli.config import TrainConfig
from gipo_cli.data.resident import trim
from gipo_cli.data.trajectories import Trajectories
from gipo_cli.diagnostics.bootstrap import FEWEST_EPISODES
from gipo_cli.errors import DataError, DivergedError, SettingError, brief
from gipo_cli.policies.acting import by
from gipo_cli.policies.likelihood import ascend
from gipo_cli.policies.policy import Policy, PolicySpec
from gipo_cli.policies.slices import sliced
from gipo_cli.policies.versions import Behaviour, VersionedPolicy
from gipo_cli.policies.weights import policy_from_weights, save_policy
from gipo_cli.runs import RunDirectory
from gipo_cli.training import checkpoints, saved_policies
from gipo_cli.training.columns import mean_and_std, taken
from gipo_cli.training.order import ShuffledRows, generator
from gipo_cli.training.samples import Samples

CLONE_LEARNING_RATE = 3e-4
VERSIONED_LEARNING_RATE = 1e-3  # what tells versions apart is learned from a part of the rows each
CLONE_CHECK_EVERY = 500  # updates between looks at the held-out episodes
CLONE_PATIENCE = 4  # looks without a better held-out log-likelihood before cloning stops
# A clone's standard deviation is kept above e^-5: below it a density fits single actions, not a policy.
CLONE_LOG_STD_BOUNDS = (-5.0, 2.0)
NORMAL_95 = 1.645  # one-sided
CLONE_ORDER, CLONE_WEIGHTS = 11, 12  # purposes of random numbers

Progress = Callable[[str, int], AbstractContextManager[Callable[..., None]]]


@dataclass(frozen=True)
class WarmStart:
    """The policy that training starts from, and the one that stands for beta where beta itself is needed.

    `kl` is E[log beta - log pi] over the held-out episodes: KL(beta || pi) itself, in nats, because log beta is
    recorded; `beta_kl` is the same of the stand-in, 0 where the log carries beta's own weights.

    Where several versions of a policy acted, beta is a clone that knows them apart, and training starts from the
    `version` that earned most; the KL of the policy is over that one's rows.
    """

    policy: Policy
    beta: Behaviour
    kind: str  # behaviour weights, checkpoint, cloning
    version: int | None  # where several acted and a clone of one is the start
    kl: float
    beta_kl: float


def warm_start(config: TrainConfig, log: Trajectories, samples: Samples, progress: Progress) -> WarmStart:
    """Start from `--init` where it is given, else from the behaviour policy's weights, else from a clone of it.

    Raises:
        SettingError: `--init` names no policy.
        DataError: the policy does not fit the log's observations or actions.
        DivergedError: cloning met a number that is not finite.
    """
    given = initial_policy(Path(config.init)) if config.init else None
    if given is not None:
        require_fit_to_log(given, log, samples)
    if log.behaviour_weights is not None:
        beta, kind = (
            policy_from_weights(log.behaviour_weights, f"the behaviour policy in {log.name}").to(samples.device),
            "behaviour weights",
        )
        require_fit_to_log(beta, log, samples)
    else:
        beta, kind = clone(config, log, samples, progress), "cloning"
    version = starting_version(config, log, samples)
    if given is not None:
        policy, kind = given.to(samples.device), "checkpoint"
    else:
        policy = beta.at(version or 0) if isinstance(beta, VersionedPolicy) else copy.deepcopy(beta)
    home = samples.started_from(version)
    return WarmStart(policy, beta, kind, version, held_out_kl(policy, home), held_out_kl(beta, samples))


def keep_behaviour(log: Trajectories, run: RunDirectory) -> None:
    """Write the policy that the log carries, if it does, where `gipo evaluate` finds it: behaviour.safetensors."""
    if log.behaviour_weights is not None:
        policy = policy_from_weights(log.behaviour_weights, f"the behaviour policy in {log.name}")
        save_policy(policy, run.path / "behaviour.safetensors")


def starting_version(config: TrainConfig, log: Trajectories, samples: Samples) -> int | None:
    """The version whose clone training starts from; none where one policy acted, or another is the start."""
    is_cloned = not config.init and log.behaviour_weights is None
    return best_version(log, samples) if is_cloned and samples.versions > 1 else None


def best_version(log: Trajectories, samples: Samples) -> int:
    """The version whose mean return has the highest lower bound, m - 1.64 s / sqrt(n), over the held-in episodes.

    Its episodes were its own, so this is no estimate of a policy from another one's data. A version with fewer than
    FEWEST_EPISODES of them, or with none held out to judge by, is not chosen while another has more.
    """
    first_rows = torch.as_tensor(log.episode_starts[:-1], device=samples.device)
    version, held_out = (taken(column, first_rows).cpu().numpy() for column in (samples.version, samples.held_out))
    bounds, of_episode = np.full(samples.versions, -np.inf), log.episode_returns
    for k in range(samples.versions):
        returns = of_episode[(version == k) & ~held_out]
        if len(returns) >= FEWEST_EPISODES and (held_out & (version == k)).any():
            bounds[k] = returns.mean() - NORMAL_95 * returns.std(ddof=1) / len(returns) ** 0.5
    return int(bounds.argmax()) if np.isfinite(bounds).any() else int(np.bincount(version).argmax())


@torch.no_grad()
def held_out_kl(policy: Behaviour, samples: Samples) -> float:
    """E[log beta - log pi] over the held-out episodes, in nats; noise can take it a little below 0."""
    return -sliced(partial(samples.log_ratio, policy), samples.judged_rows).double().mean().item()


def clone(config: TrainConfig, log: Trajectories, samples: Samples, progress: Progress) -> Behaviour:
    """Behaviour cloning by maximum likelihood; the policy with the best held-out log-likelihood is kept.

    Of a log by several versions of a policy the clone knows the versions apart.
    """
    policy = _untrained(config, log, samples).to(samples.device)
    order = ShuffledRows(samples.held_in_rows, config.batch_size, config.seed, CLONE_ORDER)
    best, best_kl, looks_since = copy.deepcopy(policy), math.inf, 0
    rate = CLONE_LEARNING_RATE if isinstance(policy, Policy) else VERSIONED_LEARNING_RATE
    updates = ascend(
        policy, samples.log_prob, order.batch, steps=config.clone_steps, learning_rate=rate,
        max_gradient_norm=config.max_gradient_norm,
    )  # fmt: skip
    with progress("cloning", config.clone_steps) as advance:
        for step in updates:
            trim()
            advance(1)
            if (step + 1) % CLONE_CHECK_EVERY and step + 1 < config.clone_steps:
                continue
            kl, looks_since = _finite(held_out_kl(policy, samples), step), looks_since + 1
            if kl < best_kl:
                best, best_kl, looks_since = copy.deepcopy(policy), kl, 0
            advance(0, kl=best_kl)
            if looks_since == CLONE_PATIENCE:
                break
    return best


def _finite(kl: float, step: int) -> float:
    if math.isfinite(kl):
        return kl
    raise DivergedError(
        f"cloning the behaviour policy gave a log-likelihood that is not finite at step {step + 1}.",
        "Look at the log with `gipo datasets info`; actions at the very bound of a squashed policy do this.",
    )


def _untrained(config: TrainConfig, log: Trajectories, samples: Samples) -> Behaviour:
    try:
        spec = PolicySpec(
            distribution=log.convention,
            observation_size=samples.observation.shape[-1],
            action_size=log.action_space.size,
            choices=log.action_space.nvec or (),
            hidden_sizes=config.hidden_sizes,
            activation=config.activation,
            log_std_bounds=CLONE_LOG_STD_BOUNDS,
        )
    except ValueError as error:
        raise DataError(
            f"{log.name}: no policy can be cloned from it; {brief(error)}.", "Look at the log: gipo datasets info."
        ) from error
    seed = int(torch.randint(2**62, (), generator=generator(config.seed, CLONE_WEIGHTS)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        policy = Policy(spec) if samples.versions == 1 else VersionedPolicy(spec, samples.versions)
    network = policy if isinstance(policy, Policy) else policy.shared
    mean, scale = mean_and_std(samples.observation, samples.held_in_rows)
    network.observation_mean.copy_(mean)
    # A feature that never changes would be divided by nothing: leave it as it is.
    network.observation_scale.copy_(torch.where(scale > 1e-6, scale, torch.ones_like(scale)))
    return policy


def initial_policy(place: Path) -> Policy:
    """The policy of a run, a checkpoint, a .safetensors file or a .zip of Stable-Baselines3.

    Raises:
        SettingError: there is none at that place.
        DataError, RunError: it is damaged.
    """
    if not place.exists():
        raise SettingError(f"--init: there is no {place}.", "Expected a run, a checkpoint or a .safetensors policy.")
    if place.is_file():
        return saved_policies.load(place).policy
    checkpoint = checkpoints.load(place) if (place / "MANIFEST.json").exists() else checkpoints.load_latest(place)
    if checkpoint is None:
        raise SettingError(f"--init: {place} holds no checkpoint.", "Expected a run, a checkpoint or a policy file.")
    return checkpoints.policy_of(checkpoint)


def require_fit_to_log(
    policy: Policy,
    log: Trajectories,
    samples: Samples,
    what: str = "the starting policy",
    hint: str = "Start from a policy of the same kind, or leave out --init.",
) -> None:
    """Refuse a policy whose density, observations or actions are not those of the log.

    Raises:
        DataError: says both.
    """
    spec = policy.spec
    found = (spec.distribution, spec.observation_size, spec.dimensions)
    expected = (log.convention, samples.observation.shape[-1], log.action_space.dimensions)
    if found != expected:
        raise DataError(
            f"{what} does not fit the log: "
            f"it is {found[0]} with {found[1]} observations and {by(found[2])} actions, "
            f"the log {expected[0]} with {expected[1]} and {by(expected[2])}.",
            hint,
        )
