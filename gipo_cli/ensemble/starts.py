"""Every member at one step: where all of them can go on, or at the start, computed once for those that begin alike."""

from collections.abc import Sequence
from pathlib import Path

import torch

from gipo_cli import checkpoint_files
from gipo_cli.advantages import Progress
from gipo_cli.config import TrainConfig
from gipo_cli.data.trajectories import Trajectories
from gipo_cli.ensemble.planned import Planned, require_one_size
from gipo_cli.ensemble.stacked import Member
from gipo_cli.ensemble.standing import Standing, newest_common
from gipo_cli.rendering import terminal
from gipo_cli.runs import RunDirectory
from gipo_cli.training import checkpoints
from gipo_cli.training.distributed import ALONE
from gipo_cli.training.loop import begin, stoppable
from gipo_cli.training.resuming import require_reports
from gipo_cli.training.reuse import begin_from, start_of
from gipo_cli.training.rounds import Estimator
from gipo_cli.training.samples import Samples, to_samples, with_held_out
from gipo_cli.training.signals import Stop
from gipo_cli.training.state import Training, restore, save
from gipo_cli.training.warm_start import starting_version


class Log:
    """A log on its device once, and of each seed which rows of it train."""

    def __init__(self, log: Trajectories, config: TrainConfig, device: torch.device) -> None:
        self.log, self.device, self._fraction = log, device, config.held_out_fraction
        self._of_seed = {config.seed: to_samples(log, config.held_out_fraction, config.seed, device)}

    def samples(self, seed: int) -> Samples:
        """The samples with the episodes held out that this seed draws; their columns are those of every seed."""
        if seed not in self._of_seed:
            first = next(iter(self._of_seed.values()))
            self._of_seed[seed] = with_held_out(first, self.log, self._fraction, seed)
        return self._of_seed[seed]

    def require_one_size(self, members: Sequence[Planned]) -> None:
        """Refuse members whose batches differ in size, as the rows do that each trains on.

        Raises:
            SettingError: names the one with the fewest.
        """
        require_one_size(members, [self._training_rows(member.config) for member in members])

    def _training_rows(self, config: TrainConfig) -> int:
        samples = self.samples(config.seed)
        home = samples.started_from(starting_version(config, self.log, samples))
        return len(home.training_rows(config.stale_rows))


def at_one_step(
    standing: Sequence[Standing],
    others: Sequence[Standing],
    log: Log,
    estimator: Estimator,
    phases: Progress,
    stop: Stop,
) -> list[Member]:
    """Members that go on from the newest step that all have; without one they begin, and that is saved.

    A member may be ahead: others' checkpoints were still to be written when a kill came, or it was trained alone. It
    goes along from there, and what it has written already stays as it is.

    Args:
        standing: of the members to train, locked by this process.
        others: that have ended, of which a start may be taken.
        log: all learn from.
        estimator: of advantages.
        phases: shows what a start takes.
        stop: the signals, and the time.
    """
    step = newest_common([one.run for one in standing])
    firsts = {start_of(one.planned.config): one.run.path for one in (*standing, *others) if _lends_start(one)}
    members = []
    for one in standing:
        name, config, run = one.planned.name, one.planned.config, one.run
        newest, warnings = checkpoint_files.find_latest(run.path)
        for text in warnings:
            terminal.note(f"warning: {text}")
        reached = 0 if newest is None else checkpoint_files.step_of(newest)
        samples = log.samples(config.seed)
        if checkpoint_files.is_whole(checkpoint_files.place_of(run.path, step)):
            now = restore(config, checkpoints.load(checkpoint_files.place_of(run.path, step)), log.device)
        else:
            watched = _named(name, stoppable(phases, stop, run, ALONE))
            now = _begun(config, firsts, log, samples, run, estimator, watched)
        require_reports(run, config, reached)
        run.truncate_metrics(reached)
        if newest is not None:
            checkpoint_files.name_latest(run.path, newest)
        if reached > step:
            terminal.note(
                f"note: {name} is at step {reached} already; all go on from step {step}, the newest they share."
            )
        home = samples.started_from(now.facts["warm_start"].get("version"))
        members.append(Member(name, config, run, home, now, reached))
    return members


def _lends_start(one: Standing) -> bool:
    """Whether its start is there; one from --init may have been another policy then."""
    return not one.planned.config.init and checkpoint_files.is_whole(checkpoint_files.place_of(one.run.path, 0))


def _begun(
    config: TrainConfig,
    firsts: dict[str, Path],
    log: Log,
    samples: Samples,
    run: RunDirectory,
    estimator: Estimator,
    phases: Progress,
) -> Training:
    """Step 0, from the run that has computed the same one where there is one; saved."""
    leader = firsts.get(start_of(config))
    if leader is None:
        now = begin(config, estimator, log.log, samples, run, phases)
    else:
        first = checkpoints.load(checkpoint_files.place_of(leader, 0))
        now = begin_from(first, config, log.log, run, log.device)
    save(run, now)
    firsts.setdefault(start_of(config), run.path)
    return now


def _named(member: str, phases: Progress) -> Progress:
    """Phases that say whose they are."""
    return lambda name, total: phases(f"{member}: {name}", total)
