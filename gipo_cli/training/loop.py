"""Training: one function, read from top to bottom."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gipo_cli.advantages import Estimate
from gipo_cli.config import TrainConfig
from gipo_cli.data.trajectories import Trajectories
from gipo_cli.errors import DivergedError, InterruptedRun
from gipo_cli.policies.policy import Policy
from gipo_cli.policies.weights import save_policy
from gipo_cli.runs import RunDirectory
from gipo_cli.training import checkpoints
from gipo_cli.training.anchor import Anchor
from gipo_cli.training.certificate import certify
from gipo_cli.training.order import ShuffledRows
from gipo_cli.training.samples import Samples, to_samples
from gipo_cli.training.signals import Stop, stop_requested
from gipo_cli.training.warm_start import warm_start

TRAIN_ORDER = 1  # purpose of random numbers: the order in which the policy sees the rows
DECAY = 0.2  # share of the steps, the last ones, over which the learning rate falls to 0

Objective = Callable[..., Tensor]
Estimator = Callable[..., Estimate]
Progress = Callable[[str, int], AbstractContextManager[Callable[..., None]]]


@dataclass
class Training:
    """What changes while the policy trains: all of it goes into a checkpoint, and out of it on resuming."""

    policy: Policy
    optimizer: torch.optim.Optimizer
    anchor: Anchor
    advantage: Tensor  # [N], in standard deviations over the held-in rows
    facts: dict[str, Any]  # what came before the first step: warm start and critic, in numbers
    step: int = 0


def fit(
    config: TrainConfig,
    objective: Objective,
    estimator: Estimator,
    log: Trajectories,
    run: RunDirectory,
    device: torch.device,
    progress: Progress,
) -> Training:
    """Train a policy on the log alone, from the run's newest whole checkpoint where there is one.

    Raises:
        DivergedError: a number was not finite; the last good checkpoint stays.
        InterruptedRun: a signal came; a checkpoint was saved.
    """
    samples = to_samples(log, config.held_out_fraction, config.seed, device)
    with stop_requested() as stop:
        newest = checkpoints.load_latest(run.path)
        if newest is None:
            now = begin(config, estimator, log, samples, run, stoppable(progress, stop, run))
        else:
            now = restore(config, newest, device)
        run.truncate_metrics(now.step)
        if newest is None:
            save(run, now)
        order = ShuffledRows(samples.held_in_rows, config.batch_size, config.seed, TRAIN_ORDER)
        sums = torch.zeros(2, device=device)  # loss and KL since the last report

        with progress("policy", config.steps) as advance:
            advance(now.step)
            while now.step < config.steps:
                rows = order.batch(now.step)
                log_prob = samples.log_prob(now.policy, rows)
                log_ratio = log_prob - samples.behaviour_log_prob[rows]
                loss = objective(log_ratio, now.advantage[rows], **config.settings).mean()
                kl = -log_ratio.detach().mean()
                now.anchor.steer(kl)
                set_learning_rate(now.optimizer, config, now.step, log_ratio.detach())
                now.optimizer.zero_grad()
                (loss - now.anchor.coefficient * log_prob.mean()).backward()
                torch.nn.utils.clip_grad_norm_(now.policy.parameters(), config.max_gradient_norm)
                now.optimizer.step()
                now.step += 1
                sums += torch.stack([loss.detach(), kl])
                advance(1)

                # Checkpoints fall on reports, so a resumed run begins its sums where this one did.
                if now.step % config.report_every and now.step < config.steps:
                    continue
                metrics = report(config, now, samples, sums)
                run.append_metrics(metrics)
                advance(0, loss=metrics["loss"], kl=metrics["kl"], ess=metrics["held_out"]["ess_fraction"])
                sums.zero_()
                done = now.step == config.steps
                if done:
                    judge(config, now, samples, run)
                if done or stop.requested or now.step % config.checkpoint_every < config.report_every:
                    save(run, now)
                if stop.requested and not done:
                    break

        run.write_log_ratios(**log_ratios(now, samples))
        if now.step < config.steps:
            raise InterruptedRun(
                f"interrupted at step {now.step} of {config.steps}; everything so far is saved.",
                f"Continue with: gipo train --resume {run.path}",
                stop.exit_code,
            )
    return now


def stoppable(progress: Progress, stop: Stop, run: RunDirectory) -> Progress:
    """Phases that a signal ends at once: before the first checkpoint there is nothing to save."""

    @contextmanager
    def phase(name: str, total: int) -> Iterator[Callable[..., None]]:
        def advance_or_stop(n: int = 1, **figures: Any) -> None:
            advance(n, **figures)
            if stop.requested:
                raise InterruptedRun(
                    f"interrupted in the phase '{name}', before the first step of the policy.",
                    f"Begin it again with: gipo train --resume {run.path}",
                    stop.exit_code,
                )

        with progress(name, total) as advance:
            yield advance_or_stop

    return phase


def begin(
    config: TrainConfig,
    estimator: Estimator,
    log: Trajectories,
    samples: Samples,
    run: RunDirectory,
    progress: Progress,
) -> Training:
    """Warm start, then advantages: all that happens once, before the first update of the policy."""
    start = warm_start(config, log, samples, progress)
    if log.behaviour_weights is not None:
        save_policy(start.beta, run.path / "behaviour.safetensors")
    estimate = estimator(
        samples,
        start.beta,
        start.policy,
        discount=config.discount,
        improvement_kl=config.improvement_kl,
        updates=config.critic_steps,
        seed=config.seed,
        progress=progress,
        **config.advantage_settings,
    )
    return Training(
        policy=start.policy,
        optimizer=adam(start.policy, config),
        anchor=Anchor.start(config.kl_target, samples.device),
        advantage=estimate.advantage / estimate.advantage[samples.held_in_rows].std().clamp_min(1e-12),
        facts={
            "warm_start": {"kind": start.kind, "kl": start.kl, "behaviour_kl": start.beta_kl},
            "critic": {
                "explained": estimate.explained,
                "explained_lower": estimate.explained_lower,
                "explained_held_in": estimate.explained_held_in,
            },
        },
    )


@torch.no_grad()
def judge(config: TrainConfig, now: Training, samples: Samples, run: RunDirectory) -> None:
    """Keep the trained policy where the held-out episodes bear it out; else go back to the one it started from.

    What was trained stays in trained.safetensors for whoever wants to look.
    """
    rows = samples.held_out_rows
    log_ratio = torch.cat([samples.log_ratio(now.policy, chunk) for chunk in rows.split(65536)])
    found = certify(log_ratio, now.advantage[rows], samples.episode[rows], now.facts["critic"]["explained_lower"])
    keep = found.certified or not config.certify
    now.facts["certificate"] = {**found.to_dict(), "kept": "trained policy" if keep else "starting policy"}
    if not keep:
        save_policy(now.policy, run.path / "trained.safetensors")
        now.policy.load_state_dict(checkpoints.load(run.path / "checkpoints" / "step-00000000").tensors["policy"])


def adam(policy: Policy, config: TrainConfig) -> torch.optim.Optimizer:
    """The policy's optimizer; fused is one pass over the parameters on CPU and GPU alike."""
    return torch.optim.Adam(policy.parameters(), lr=config.learning_rate, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, config: TrainConfig, step: int, log_ratio: Tensor) -> None:
    """Constant, then falling to 0 over the last DECAY of the steps; less where few samples of the batch count.

        rate = learning_rate * sqrt(min(1, ESS / ess_base)),   ESS = (sum w)^2 / (B sum w^2),   w = exp(log_ratio)

    ESS is that of the raw ratios, whatever weight the objective gives them: it says how stale the batch is.

    Source: VCPO, https://arxiv.org/abs/2602.17616, with the ratio of a step in place of that of a sequence

    Args:
        optimizer: whose rate is set.
        config: learning_rate, steps, and ess_base, of which 0 leaves the batch out of it.
        step: updates so far.
        log_ratio: of the batch, [B], without a gradient.
    """
    rate = config.learning_rate * min(1.0, (config.steps - step) / (DECAY * config.steps))
    if config.ess_base:
        weight = (log_ratio.double() - log_ratio.max()).exp()  # a constant factor does not change the share
        ess = weight.sum() ** 2 / (len(weight) * (weight**2).sum())
        rate *= (ess / config.ess_base).clamp(max=1.0).sqrt().item()
    for group in optimizer.param_groups:
        group["lr"] = rate


@torch.no_grad()
def held_out_figures(now: Training, samples: Samples) -> dict[str, float]:
    """Effective sample size, KL and surrogate on the episodes that never train anything.

    ess_fraction is Kish's (sum w)^2 / (n sum w^2) of the raw ratios; kl is E[log beta - log pi] in nats; surrogate is
    the self-normalised mean of ratio * advantage less the mean advantage, in standard deviations of the advantage.
    """
    rows = samples.held_out_rows
    log_ratio = torch.cat([samples.log_ratio(now.policy, chunk) for chunk in rows.split(65536)]).double()
    advantage = now.advantage[rows].double()
    weight = (log_ratio - log_ratio.max()).exp()  # a constant factor changes none of the three
    return {
        "ess_fraction": (weight.sum() ** 2 / (len(weight) * (weight**2).sum())).item(),
        "kl": -log_ratio.mean().item(),
        "surrogate": ((weight * advantage).sum() / weight.sum() - advantage.mean()).item(),
    }


def report(config: TrainConfig, now: Training, samples: Samples, sums: Tensor) -> dict[str, Any]:
    """One line of metrics; no times in it, so that a resumed run writes the same bytes."""
    since = (now.step - 1) % config.report_every + 1
    loss, kl = (sums / since).tolist()
    metrics = {
        "step": now.step,
        "loss": loss,
        "kl": kl,
        "anchor": now.anchor.coefficient.item(),
        "held_out": held_out_figures(now, samples),
    }
    figures = [loss, kl, *metrics["held_out"].values(), *(p.detach().sum().item() for p in now.policy.parameters())]
    if not np.isfinite(figures).all():
        raise DivergedError(
            f"training met a number that is not finite between steps {now.step - since} and {now.step}.",
            "The last checkpoint is whole. Try a smaller learning rate (--set learning_rate=3e-5) or a narrower sigma.",
        )
    return metrics


@torch.no_grad()
def log_ratios(now: Training, samples: Samples) -> dict[str, np.ndarray]:
    """What `gipo inspect-weights` reads: one number a logged row, and the step they belong to."""
    rows = torch.arange(len(samples.reward), device=samples.device)
    log_ratio = torch.cat([samples.log_ratio(now.policy, chunk) for chunk in rows.split(65536)])
    return {
        "log_ratio": log_ratio.cpu().numpy(),
        "advantage": now.advantage.cpu().numpy(),
        "episode": samples.episode.cpu().numpy(),
        "held_out": samples.held_out.cpu().numpy(),
        "step": np.asarray(now.step),
    }


def save(run: RunDirectory, now: Training) -> None:
    """Write a checkpoint of everything that changes."""
    optimizer_tensors, optimizer_groups = checkpoints.optimizer_to_tensors(now.optimizer)
    checkpoints.save(
        run.path,
        now.step,
        {
            "policy": {name: value.detach() for name, value in now.policy.state_dict().items()},
            "optimizer": optimizer_tensors,
            "training": {"anchor": now.anchor.state, "advantage": now.advantage},
        },
        {"policy_spec": now.policy.spec.to_dict(), "optimizer": optimizer_groups, "facts": now.facts},
    )


def restore(config: TrainConfig, checkpoint: checkpoints.Checkpoint, device: torch.device) -> Training:
    """Go on from a checkpoint exactly where it was written."""
    policy = checkpoints.policy_of(checkpoint).to(device)
    optimizer = adam(policy, config)
    checkpoints.load_optimizer(optimizer, checkpoint.tensors["optimizer"])
    training = {name: value.to(device) for name, value in checkpoint.tensors["training"].items()}
    return Training(
        policy=policy,
        optimizer=optimizer,
        anchor=Anchor(config.kl_target, training["anchor"]),
        advantage=training["advantage"],
        facts=checkpoint.state["facts"],
        step=checkpoint.step,
    )
