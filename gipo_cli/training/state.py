"""All that changes while a policy trains: into a checkpoint, and out of it on resuming."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gipo_cli import checkpoint_files
from gipo_cli.config import TrainConfig
from gipo_cli.errors import RunError
from gipo_cli.policies.policy import Policy
from gipo_cli.policies.versions import Behaviour
from gipo_cli.runs import RunDirectory
from gipo_cli.training import checkpoints
from gipo_cli.training.anchor import Anchor
from gipo_cli.training.width import Width

CHECKPOINT_VERSION = 1  # of what a checkpoint holds; those before it had none


@dataclass
class Training:
    """What changes while the policy trains: all of it goes into a checkpoint, and out of it on resuming."""

    policy: Policy
    optimizer: torch.optim.Optimizer
    anchor: Anchor
    width: Width
    advantage: Tensor  # [N], in standard deviations over the held-in rows
    facts: dict[str, Any]  # what came before the first step: warm start and critic, in numbers
    beta: Behaviour | None  # what stands for the behaviour policy; kept where values are computed more than once
    step: int = 0
    round: int = 0  # how often values were computed for the policy as it was, after the first time


def begun(
    config: TrainConfig, policy: Policy, advantage: Tensor, facts: dict[str, Any], beta: Behaviour | None
) -> Training:
    """Step 0: a policy to start from and the advantages are there, nothing has been trained."""
    start_kl = facts["warm_start"]["kl"]
    return Training(
        policy=policy,
        optimizer=adam(policy, config),
        anchor=Anchor.start(anchor_target(config, start_kl), advantage.device),
        width=Width.start(config, start_kl),
        advantage=advantage,
        facts=facts,
        beta=beta,
    )


def anchor_target(config: TrainConfig, start_kl: float) -> float:
    """Nats that the anchor steers to: what a clone fell short by at the start is not the policy's to win back."""
    return config.kl_target + max(0.0, start_kl) if config.kl_target > 0 and not config.steer_sigma else 0.0


def adam(policy: Policy, config: TrainConfig) -> torch.optim.Optimizer:
    """The policy's optimizer."""
    return adam_over(policy.parameters(), config.learning_rate)


def adam_over(parameters: Iterable[Tensor], lr: float) -> torch.optim.Optimizer:
    """Adam; fused is one pass over the parameters on CPU and GPU alike.

    On a GPU its learning rate is a tensor there, and steps are counted there: an update can be recorded as a graph.
    """
    learned = [*parameters]
    device = learned[0].device
    on_gpu = device.type == "cuda"
    rate = torch.tensor(lr, device=device) if on_gpu else lr
    return torch.optim.Adam(learned, lr=rate, fused=True, capturable=on_gpu)


def is_checkpoint(config: TrainConfig, step: int) -> bool:
    """Whether a checkpoint is due at a report: the first one at or after each `checkpoint_every` updates."""
    return step % config.report_every == 0 and step % config.checkpoint_every < config.report_every


def older_checkpoints(config: TrainConfig, step: int) -> list[int]:
    """Steps above 0 whose checkpoints a run that was never stopped has when it comes to `step`, oldest first."""
    reports = range(config.report_every, step, config.report_every)
    return [earlier for earlier in reports if is_checkpoint(config, earlier)][-config.keep :]


def remove_older(config: TrainConfig, run: RunDirectory, step: int, last: bool) -> None:
    """Leave the newest checkpoints alone, as many as `keep` says, and that of step 0, which other runs start from.

    What an interruption saved at a step of its own is not counted, and goes with the next checkpoint: a run that was
    stopped keeps what it would have kept. What is damaged stays, and what somebody put a file of their own into.

    Args:
        config: of which keep=0 removes none.
        run: to remove them from.
        step: of the newest checkpoint, which is visible.
        last: whether the run ends with it.
    """
    if not config.keep:
        return
    counts = last or is_checkpoint(config, step)
    counted = [*older_checkpoints(config, step), *([step] if counts else [])]
    kept = {0, step, *counted[-config.keep :]}
    for path in checkpoint_files.checkpoints_in(run.path):
        older = checkpoint_files.step_of(path)
        unwanted = older < step and older not in kept
        if unwanted and checkpoint_files.is_whole(path) and not checkpoint_files.holds_more(path):
            checkpoint_files.remove(path)


def save(run: RunDirectory, now: Training, ranks: int = 1) -> None:
    """Write a checkpoint of everything that changes, and of how many ranks trained it where there are several."""
    tensors, state = contents(now)
    checkpoints.save(run.path, now.step, tensors, state | ({"ranks": ranks} if ranks > 1 else {}))


def contents(now: Training) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
    """What a checkpoint holds: groups of tensors by name, and plain values."""
    optimizer_tensors, optimizer_groups = checkpoints.optimizer_to_tensors(now.optimizer)
    beta_tensors, beta = ({}, None) if now.beta is None else checkpoints.behaviour_to_tensors(now.beta)
    tensors = {
        "policy": {name: value.detach() for name, value in now.policy.state_dict().items()},
        "optimizer": optimizer_tensors,
        "training": {"anchor": now.anchor.state, "width": now.width.state, "advantage": now.advantage},
        **({"beta": beta_tensors} if beta else {}),
    }
    return tensors, {
        "checkpoint_version": CHECKPOINT_VERSION,
        "policy_spec": now.policy.spec.to_dict(),
        "optimizer": optimizer_groups,
        "facts": now.facts,
        "beta": beta,
        "round": now.round,
    }


def restore(config: TrainConfig, checkpoint: checkpoints.Checkpoint, device: torch.device) -> Training:
    """Go on from a checkpoint exactly where it was written.

    Raises:
        RunError: it is of an older version, which kept less, or of a newer one.
    """
    version = checkpoint.state.get("checkpoint_version", CHECKPOINT_VERSION)
    if version != CHECKPOINT_VERSION:
        raise RunError(
            f"{checkpoint.path} is a checkpoint of format {version}; this version of gipo goes on with format "
            f"{CHECKPOINT_VERSION}.",
            "A newer gipo made it: pip install --upgrade gipo",
        )
    if "width" not in checkpoint.tensors["training"] or "round" not in checkpoint.state:
        raise RunError(
            f"{checkpoint.path} was written by an older version of gipo, which kept less than going on needs.",
            "Repeat it: gipo train --config RUN/config.toml --out NEW. Or start a new run from its policy: --init RUN.",
        )
    policy = checkpoints.policy_of(checkpoint).to(device)
    optimizer = adam(policy, config)
    checkpoints.load_optimizer(optimizer, checkpoint.tensors["optimizer"])
    training = {name: value.to(device) for name, value in checkpoint.tensors["training"].items()}
    beta = checkpoints.behaviour_of(checkpoint)
    start_kl = checkpoint.state["facts"]["warm_start"]["kl"]
    return Training(
        policy=policy,
        optimizer=optimizer,
        anchor=Anchor(anchor_target(config, start_kl), training["anchor"]),
        width=Width.resume(config, start_kl, training["width"]),
        advantage=training["advantage"],
        facts=checkpoint.state["facts"],
        beta=beta if beta is None else beta.to(device),
        round=checkpoint.state["round"],
        step=checkpoint.step,
    )
