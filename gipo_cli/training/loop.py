"""Training: one function, read from top to bottom."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gipo_cli.advantages import Progress
from gipo_cli.archives import packed
from gipo_cli.checkpoint_files import name_latest
from gipo_cli.config import TrainConfig
from gipo_cli.data.resident import trim
from gipo_cli.data.trajectories import Trajectories
from gipo_cli.errors import DivergedError
from gipo_cli.pieces import sharing
from gipo_cli.runs import RunDirectory
from gipo_cli.training import checkpoints
from gipo_cli.training.columns import chunks, joined
from gipo_cli.training.dimensions import by_dimension
from gipo_cli.training.distributed import ALONE, Ranks
from gipo_cli.training.handover import handed_over
from gipo_cli.training.judgement import has_stalled, held_out_figures, held_out_weights, judge, judged_log_ratio
from gipo_cli.training.order import ShuffledRows
from gipo_cli.training.recorded import RecordedUpdates
from gipo_cli.training.resuming import require_reports
from gipo_cli.training.reuse import begin_from
from gipo_cli.training.rounds import Estimator, revalue, round_is_due, value
from gipo_cli.training.samples import Samples, to_samples
from gipo_cli.training.signals import Stop, stop_requested
from gipo_cli.training.state import Training, begun, is_checkpoint, remove_older, restore, save
from gipo_cli.training.time_limit import TimeLimit
from gipo_cli.training.update import Batch, Objective
from gipo_cli.training.warm_start import keep_behaviour, warm_start

TRAIN_ORDER = 1  # purpose of random numbers: the order in which the policy sees the rows


def fit(
    config: TrainConfig,
    objective: Objective,
    estimator: Estimator,
    log: Trajectories,
    run: RunDirectory | None,
    device: torch.device,
    progress: Progress,
    reused: checkpoints.Checkpoint | None = None,
    on_report: Callable[[dict[str, Any]], None] = lambda metrics: None,
    limit: TimeLimit | None = None,
    ranks: Ranks = ALONE,
) -> Training:
    """Train a policy on the log alone, from the run's newest whole checkpoint where there is one.

    A run that begins takes start and advantages from `reused`, another's first checkpoint, in place of computing them.
    Of several ranks the first has the `run`, and does what is done once; the others have none and give their share of
    every update.

    Raises:
        DivergedError: a number was not finite; the last good checkpoint stays.
        InterruptedRun: a signal came, or the limit is near; a checkpoint was saved.
        RankLost: another rank is gone; the last checkpoint stays.
    """
    samples = to_samples(log, config.held_out_fraction, config.seed, device)
    if config.ratios == "per-dimension":
        samples = by_dimension(samples, log)
    with stop_requested(limit) as stop, sharing(config.threads):
        phases = progress if run is None else stoppable(progress, stop, run, ranks)
        now = None if run is None else start(config, estimator, log, samples, run, device, phases, reused, ranks)
        now = handed_over(ranks, now, config, device, stop)
        samples = samples.started_from(now.facts["warm_start"].get("version"))
        order = ShuffledRows(samples.training_rows(config.stale_rows), config.batch_size, config.seed, TRAIN_ORDER)
        sums = torch.zeros(2, device=device)  # loss and KL since the last report
        bounds = [line["held_out"].get("surrogate_lower") for line in run.metrics()] if run is not None else []
        done = ranks.any(has_stalled(bounds, config.patience))
        if run is not None:
            remove_older(config, run, now.step, last=done or now.step == config.steps)  # a kill may have come before
        if run is not None and stop.limit.given:
            stop.limit.lap()
            with packed(log_ratios(now, samples), run.path):
                stop.limit.lap("log ratios")  # that is how long they take at the end
        settings, update = now.width.settings(config.settings), RecordedUpdates(config, device)

        with progress("policy", config.steps) as advance:
            advance(now.step)
            while now.step < config.steps and not done:
                if round_is_due(config, now):
                    revalue(config, estimator, samples, now, phases, ranks, stop)
                batch = Batch(objective, settings, now.advantage, samples, order.batch(now.step), ranks)
                sums += update(now, batch)
                now.step += 1
                trim()
                advance(1)
                if run is not None and stop.limit.left < 0:
                    raise stop.interruption("between two reports; resuming begins at the checkpoint before.", run.path)

                # Checkpoints fall on reports, so a resumed run begins its sums where this one did.
                if now.step % config.report_every and now.step < config.steps:
                    continue
                ranks.require_same_weights(now.policy)
                if run is not None:
                    metrics = report(config, now, batch, sums)
                    now.width.steer(metrics["held_out"])
                    run.append_metrics(metrics)
                    on_report(metrics)
                    advance(0, loss=metrics["loss"], kl=metrics["kl"], ess=metrics["held_out"]["ess_fraction"])
                    bounds.append(metrics["held_out"]["surrogate_lower"])
                ranks.tell(now.width.state)
                settings = now.width.settings(config.settings)
                sums.zero_()
                done = ranks.any(now.step == config.steps or has_stalled(bounds, config.patience))
                if run is not None and done:
                    judge(config, now, samples, run)
                stop.limit.lap("report")
                stopping = ranks.any(stop.requested or stop.limit.is_near())
                if run is not None and (done or stopping or is_checkpoint(config, now.step)):
                    save(run, now, ranks.size)
                    remove_older(config, run, now.step, last=done)
                    stop.limit.lap("checkpoint")
                if stopping and not done:
                    break

        if run is not None:
            run.write_log_ratios(**log_ratios(now, samples))
            if now.step < config.steps and not done:
                raise stop.interruption(f"at step {now.step} of {config.steps}; everything so far is saved.", run.path)
    return now


def stoppable(progress: Progress, stop: Stop, run: RunDirectory, ranks: Ranks) -> Progress:
    """Phases that a signal or the time limit ends at once: what they began from is saved, or there is nothing yet."""

    @contextmanager
    def phase(name: str, total: int) -> Iterator[Callable[..., None]]:
        def advance_or_stop(n: int = 1, **figures: Any) -> None:
            advance(n, **figures)
            if stop.requested:
                ranks.roll_call()  # torchrun stops the others when one dies
                raise stop.interruption(f"in the phase '{name}'; it begins again on resuming.", run.path)

        with progress(name, total) as advance:
            yield advance_or_stop

    return phase


def start(
    config: TrainConfig,
    estimator: Estimator,
    log: Trajectories,
    samples: Samples,
    run: RunDirectory,
    device: torch.device,
    progress: Progress,
    reused: checkpoints.Checkpoint | None,
    ranks: Ranks,
) -> Training:
    """From the newest whole checkpoint, from another run's first one, or from the log; saved where it is new."""
    newest = checkpoints.load_latest(run.path)
    if newest is not None:
        now = restore(config, newest, device)
        require_reports(run, config, now.step)
        name_latest(run.path, newest.path)
    elif reused is not None:
        now = begin_from(reused, config, log, run, device)
    else:
        now = begin(config, estimator, log, samples, run, progress)
    run.truncate_metrics(now.step)
    if newest is None:
        save(run, now, ranks.size)
    return now


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
    keep_behaviour(log, run)
    advantage, critic = value(config, estimator, samples, start.beta, None, progress)
    facts = {
        "warm_start": {
            "kind": start.kind,
            "kl": start.kl,
            "behaviour_kl": start.beta_kl,
            "version": start.version,
            "versions": samples.versions,
        },
        "critic": critic,
    }
    return begun(config, start.policy, advantage, facts, start.beta if config.rounds > 1 else None)


def report(config: TrainConfig, now: Training, batch: Batch, sums: Tensor) -> dict[str, Any]:
    """One line of metrics; no times in it, so that a resumed run writes the same bytes."""
    samples = batch.samples
    log_ratio = judged_log_ratio(now.policy, samples)
    since = (now.step - 1) % config.report_every + 1
    loss, kl = (sums / since).tolist()
    metrics = {
        "step": now.step,
        "loss": loss,
        "kl": kl,
        "anchor": now.anchor.coefficient.item(),
        **({"sigma": now.width.state.exp().item()} if now.width.target else {}),
        "held_out": held_out_figures(now, samples, log_ratio),
        "weights": held_out_weights(now, samples, log_ratio, batch.objective, batch.settings),
    }
    judged = [figure for figure in metrics["held_out"].values() if figure is not None]
    figures = [loss, kl, *judged, *(p.detach().sum().item() for p in now.policy.parameters())]
    if not np.isfinite(figures).all():
        raise DivergedError(
            f"training met a number that is not finite between steps {now.step - since} and {now.step}.",
            "The last checkpoint is whole. Try a smaller learning rate (--set learning_rate=3e-5) or a narrower sigma.",
        )
    return metrics


@torch.no_grad()
def log_ratios(now: Training, samples: Samples) -> dict[str, np.ndarray]:
    """What `gipo inspect-weights` reads: one number a logged row, and the step they belong to."""
    log_ratio = samples.at_every_row(partial(samples.log_ratio, now.policy))
    episode = joined(len(samples.reward), (chunk.long() for chunk in chunks(samples.episode)))
    parts = {}
    if samples.behaviour_log_prob_parts is not None:
        found = samples.at_every_row(partial(samples.log_ratio_parts, now.policy))
        parts = {"log_ratio_parts": found.cpu().numpy()}
    if samples.versions > 1:
        parts["version"] = samples.version.cpu().numpy()
    return {
        "log_ratio": log_ratio.cpu().numpy(),
        "advantage": now.advantage.cpu().numpy(),
        "episode": episode.cpu().numpy(),
        "held_out": samples.held_out.cpu().numpy(),
        "home": samples.home.cpu().numpy(),
        "step": np.asarray(now.step),
        **parts,
    }
