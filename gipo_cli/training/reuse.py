"""The start and the advantages of another run, in place of computing both again: what a sweep has in common."""

from pathlib import Path

import torch

from gipo_cli.config import TrainConfig, from_values
from gipo_cli.data.trajectories import Trajectories
from gipo_cli.errors import SettingError
from gipo_cli.policies.policy import Policy
from gipo_cli.runs import RunDirectory
from gipo_cli.training import checkpoints
from gipo_cli.training.state import Training, begun, restore
from gipo_cli.training.warm_start import initial_policy, keep_behaviour

# All that the start and the advantages are computed from, beside the log.
DECIDES = (
    "seed", "init", "held_out_fraction", "advantage", "advantage_settings", "discount", "critic_steps",
    "improvement_kl", "hidden_sizes", "activation", "clone_steps",
)  # fmt: skip
DECIDES_A_CLONE = ("batch_size", "max_gradient_norm")  # of a log that does not carry its policy


def start_of(config: TrainConfig) -> str:
    """The same text for two configurations where the second may begin from the first; never where it may not."""
    decides = [getattr(config, name) for name in (*DECIDES, *DECIDES_A_CLONE)]
    return repr((config.dataset, config.log_options(), config.device, config.rounds > 1, *decides))


def require_same_start(place: Path, config: TrainConfig, log: Trajectories) -> checkpoints.Checkpoint:
    """The first checkpoint of a run whose start and advantages are those that this configuration would compute.

    Raises:
        RunError: there is no such run, or its first checkpoint is not there, damaged or an older version's.
        SettingError: it had another log, or a setting that leads to another start or other advantages.
    """
    run = RunDirectory.open(place)
    other = from_values(run.read_config(), str(place / "config.toml"))
    dataset = run.record().get("dataset")
    fingerprint = dataset.get("fingerprint") if isinstance(dataset, dict) else None
    if fingerprint != log.fingerprint:
        raise SettingError(
            f"--reuse {place}: its log was another one, {fingerprint}; that of {log.name} is {log.fingerprint}."
        )
    for name in (*DECIDES, *(DECIDES_A_CLONE if log.behaviour_weights is None else ())):
        theirs, ours = getattr(other, name), getattr(config, name)
        if theirs != ours:
            raise SettingError(
                f"--reuse {place}: it has {name} {theirs}, this run {ours}; its start and advantages are others.",
                f"Give both the same {name}, or leave --reuse out.",
            )
    first = checkpoints.load(place / "checkpoints" / "step-00000000")
    found = restore(config, first, torch.device("cpu"))
    if config.init and not _alike(found.policy, initial_policy(Path(config.init))):
        raise SettingError(
            f"--reuse {place}: it began from another policy than the one that --init {config.init} now is.",
            "Leave --reuse out.",
        )
    if config.rounds > 1 and found.beta is None:
        raise SettingError(
            f"--reuse {place}: it had one round and did not keep the behaviour policy, which rounds={config.rounds} "
            "needs.",
            "Leave --reuse out.",
        )
    return first


def begin_from(
    first: checkpoints.Checkpoint, config: TrainConfig, log: Trajectories, run: RunDirectory, device: torch.device
) -> Training:
    """Step 0 of a run from step 0 of another: policy and advantages are the same, optimizer and anchor are new."""
    keep_behaviour(log, run)
    found = restore(config, first, device)
    return begun(config, found.policy, found.advantage, found.facts, found.beta if config.rounds > 1 else None)


def _alike(first: Policy, second: Policy) -> bool:
    weights, others = first.state_dict(), second.state_dict()
    return first.spec == second.spec and all(torch.equal(weights[name].cpu(), others[name].cpu()) for name in weights)
