"""Training of members side by side: `loop.fit` for several, with one update for all and everything else for each."""

from collections.abc import Callable, Sequence
from operator import methodcaller
from pathlib import Path

from torch import Tensor

from gipo_cli.advantages import Progress
from gipo_cli.archives import packed
from gipo_cli.checkpoint_files import name_latest, place_of
from gipo_cli.data.resident import trim
from gipo_cli.ensemble.stacked import Member, Stacked, stack
from gipo_cli.errors import DivergedError
from gipo_cli.pieces import each
from gipo_cli.training.judgement import judge
from gipo_cli.training.loop import log_ratios, report
from gipo_cli.training.signals import Stop
from gipo_cli.training.state import is_checkpoint, remove_older, save
from gipo_cli.training.update import Batch


def fit(
    members: Sequence[Member], objective: Callable[..., Tensor], place: Path, progress: Progress, stop: Stop
) -> None:
    """Train members from the step at which they stand to their last one.

    One that diverges is said to have in its record, and the others go on without it.

    Args:
        members: all at one step; changed in place.
        objective: that all lower.
        place: the directory of all, for messages.
        progress: shows how far they are.
        stop: the signals, and the time.

    Raises:
        InterruptedRun: a signal came, or the limit is near; every member was saved.
    """
    config, step = members[0].config, members[0].now.step
    stacks = stack(objective, members)
    for member in members:
        remove_older(config, member.run, step, last=step == config.steps)  # a kill may have come before
    if stop.limit.given:
        stop.limit.lap()
        for member in members:
            with packed(log_ratios(member.now, member.samples), member.run.path):
                pass
        stop.limit.lap("log ratios")  # that is how long they take at the end

    with progress("policy", config.steps) as advance:
        advance(step)
        while step < config.steps and _whole(members):
            each(methodcaller("update", step), stacks)
            trim()
            step += 1
            advance(1)
            if stop.limit.left < 0:
                raise stop.interruption("between two reports; going on begins at the checkpoints before.", place)
            if step % config.report_every and step < config.steps:
                continue

            advance(0, **_figures([held_out for stacked in stacks for held_out in _reports(stacked, step)]))
            done = step == config.steps
            for member in _whole(members) if done else ():
                judge(member.config, member.now, member.samples, member.run)
            stop.limit.lap("report")
            stopping = stop.requested or stop.limit.is_near()
            if done or stopping or is_checkpoint(config, step):
                _save(_whole(members), last=done)
                stop.limit.lap("checkpoint")
            if stopping and not done:
                break

    _write_log_ratios(_whole(members))
    if step < config.steps and _whole(members):
        raise stop.interruption(f"at step {step} of {config.steps}; every member is saved.", place)


def _whole(members: Sequence[Member]) -> list[Member]:
    """Those that have not diverged."""
    return [member for member in members if not member.diverged]


def _reports(stacked: Stacked, step: int) -> list[dict[str, float]]:
    """Report on members, and have their next updates heed it; the held-out figures of those that are whole."""
    stacked.tell(step)
    found = [_report(member, stacked.batch_of(k), stacked.sums[k]) for k, member in enumerate(stacked.members)]
    stacked.take_sigma()
    stacked.sums.zero_()
    return [held_out for held_out in found if held_out]


def _report(member: Member, batch: Batch, sums: Tensor) -> dict[str, float] | None:
    """Report on a member, and take in what that says; its held-out figures, none where it has diverged."""
    if member.diverged:
        return None
    try:
        metrics = report(member.config, member.now, batch, sums)
    except DivergedError as error:
        member.diverged = error.message
        member.run.end_badly("diverged", error.message)
        return None
    member.now.width.steer(metrics["held_out"])
    if member.now.step > member.reached:
        member.run.append_metrics(metrics)
    return metrics["held_out"]


def _figures(found: Sequence[dict[str, float]]) -> dict[str, float]:
    """What stands beside the bar."""
    if not found:
        return {}
    kl, ess = ([figures[name] for figures in found] for name in ("kl", "ess_fraction"))
    return {"mean kl": sum(kl) / len(kl), "lowest ess": min(ess)}


def _save(members: Sequence[Member], last: bool) -> None:
    """A checkpoint of every member; older ones go once all have it, so that all have one step in common."""
    for member in members:
        save(member.run, member.now)
        if member.now.step < member.reached:
            name_latest(member.run.path, place_of(member.run.path, member.reached))
    for member in members:
        remove_older(member.config, member.run, member.now.step, last=last)


def _write_log_ratios(members: Sequence[Member]) -> None:
    for member in members:
        if member.now.step >= member.reached:
            member.run.write_log_ratios(**log_ratios(member.now, member.samples))
