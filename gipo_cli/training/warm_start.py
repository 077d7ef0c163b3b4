"""Where training starts: as close to the behaviour policy as the log allows."""

import copy
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import torch

from gipo_cli.config import TrainConfig
from gipo_cli.data.trajectories import Trajectories
from gipo_cli.errors import DataError, DivergedError, SettingError
from gipo_cli.policies.likelihood import ascend
from gipo_cli.policies.policy import Policy, PolicySpec
from gipo_cli.policies.weights import policy_from_weights
from gipo_cli.training import checkpoints, saved_policies
from gipo_cli.training.order import ShuffledRows, generator
from gipo_cli.training.samples import Samples

CLONE_LEARNING_RATE = 3e-4
CLONE_CHECK_EVERY = 500  # updates between looks at the held-out episodes
CLONE_PATIENCE = 4  # looks without a better held-out log-likelihood before cloning stops
# A clone's standard deviation is kept above e^-5: below it a density fits single actions, not a policy.
CLONE_LOG_STD_BOUNDS = (-5.0, 2.0)
CLONE_ORDER, CLONE_WEIGHTS = 11, 12  # purposes of random numbers

Progress = Callable[[str, int], AbstractContextManager[Callable[..., None]]]


@dataclass(frozen=True)
class WarmStart:
    """The policy that training starts from, and the one that stands for beta where beta itself is needed.

    `kl` is E[log beta - log pi] over the held-out episodes: KL(beta || pi) itself, in nats, because log beta is
    recorded; `beta_kl` is the same of the stand-in, 0 where the log carries beta's own weights.
    """

    policy: Policy
    beta: Policy
    kind: str  # behaviour weights, checkpoint, cloning
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
        _check_fit(given, log, samples)
    if log.behaviour_weights is not None:
        beta, kind = (
            policy_from_weights(log.behaviour_weights, f"the behaviour policy in {log.name}").to(samples.device),
            "behaviour weights",
        )
        _check_fit(beta, log, samples)
    else:
        beta, kind = clone(config, log, samples, progress), "cloning"
    policy = copy.deepcopy(beta) if given is None else given.to(samples.device)
    return WarmStart(
        policy, beta, kind if given is None else "checkpoint", held_out_kl(policy, samples), held_out_kl(beta, samples)
    )


@torch.no_grad()
def held_out_kl(policy: Policy, samples: Samples) -> float:
    """E[log beta - log pi] over the held-out episodes, in nats; noise can take it a little below 0."""
    chunks = samples.held_out_rows.split(65536)
    return -torch.cat([samples.log_ratio(policy, rows) for rows in chunks]).double().mean().item()


def clone(config: TrainConfig, log: Trajectories, samples: Samples, progress: Progress) -> Policy:
    """Behaviour cloning by maximum likelihood; the policy with the best held-out log-likelihood is kept."""
    policy = _untrained(config, log, samples).to(samples.device)
    order = ShuffledRows(samples.held_in_rows, config.batch_size, config.seed, CLONE_ORDER)
    best, best_kl, looks_since = copy.deepcopy(policy), math.inf, 0
    updates = ascend(
        policy, samples.log_prob, order.batch, steps=config.clone_steps, learning_rate=CLONE_LEARNING_RATE,
        max_gradient_norm=config.max_gradient_norm,
    )  # fmt: skip
    with progress("cloning", config.clone_steps) as advance:
        for step in updates:
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


def _untrained(config: TrainConfig, log: Trajectories, samples: Samples) -> Policy:
    action_size = log.action_space.n or samples.action.shape[-1]
    spec = PolicySpec(
        distribution=log.convention,
        observation_size=samples.observation.shape[-1],
        action_size=action_size,
        hidden_sizes=config.hidden_sizes,
        activation=config.activation,
        log_std_bounds=CLONE_LOG_STD_BOUNDS,
    )
    seed = int(torch.randint(2**62, (), generator=generator(config.seed, CLONE_WEIGHTS)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        policy = Policy(spec)
    held_in = samples.observation[samples.held_in_rows]
    policy.observation_mean.copy_(held_in.mean(0))
    # A feature that never changes would be divided by nothing: leave it as it is.
    scale = held_in.std(0)
    policy.observation_scale.copy_(torch.where(scale > 1e-6, scale, torch.ones_like(scale)))
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


def _check_fit(policy: Policy, log: Trajectories, samples: Samples) -> None:
    spec = policy.spec
    found = (spec.distribution, spec.observation_size, spec.action_size)
    action_size = log.action_space.n or samples.action.shape[-1]
    expected = (log.convention, samples.observation.shape[-1], action_size)
    if found != expected:
        raise DataError(
            "the starting policy does not fit the log: "
            f"it is {found[0]} with {found[1]} observations and {found[2]} actions, "
            f"the log {expected[0]} with {expected[1]} and {expected[2]}.",
            "Start from a policy of the same kind, or leave out --init.",
        )
