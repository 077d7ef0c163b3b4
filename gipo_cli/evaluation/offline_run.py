"""A run's policy and a log, as the question that off-policy evaluation answers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from gipo_cli.config import TrainConfig, from_values
from gipo_cli.data.options import LogOptions
from gipo_cli.data.trajectories import Trajectories
from gipo_cli.errors import RunError, SettingError
from gipo_cli.evaluation.evidence import UPDATES, Progress
from gipo_cli.evaluation.offline import LEVEL, Question, crossed_folds, judge, own_folds, settings_from
from gipo_cli.evaluation.run_evaluation import policy_of_run
from gipo_cli.logs import open_log
from gipo_cli.policies.policy import Policy
from gipo_cli.runs import RunDirectory
from gipo_cli.training import checkpoints
from gipo_cli.training.samples import Samples, to_samples
from gipo_cli.training.warm_start import require_fit_to_log


@dataclass(frozen=True)
class Asked:
    """What the user asked for; what is None is taken from the run."""

    dataset: str | None = None
    discount: float | None = None
    level: float = LEVEL
    step: int | None = None
    seed: int = 0
    assignments: tuple[str, ...] = ()  # NAME=VALUE, settings of estimators

    def __post_init__(self) -> None:
        """Refuse what no interval or value can have.

        Raises:
            SettingError: the level or the discount is out of its range.
        """
        if not 0.5 <= self.level < 1:
            raise SettingError(f"--level is {self.level:g}; expected a number from 0.5 to below 1.", "Try 0.95.")
        if self.discount is not None and not 0 <= self.discount < 1:
            raise SettingError(
                f"--discount is {self.discount:g}; expected a number from 0 to below 1.",
                "Rewards that are never discounted have no finite sum where episodes are cut. Try 0.997.",
            )


def evaluate_offline(
    run: RunDirectory, asked: Asked, progress: Progress | None, warn: Callable[[str], None]
) -> dict[str, Any]:
    """Judge the policy of a checkpoint by a log: by the run's own held-out episodes, or by all of another log.

    Args:
        run: whose policy, and whose log where no other is named.
        asked: what the user asked for.
        progress: named phases with their length.
        warn: told what is doubtful.

    Returns:
        What offline.json holds.

    Raises:
        SettingError, DataError, RunError: the log cannot be opened, is not the one that the run was trained on, or does
            not fit the policy; or there is no such whole checkpoint.
    """
    torch.set_num_threads(1)
    settings = settings_from(asked.assignments)
    config = from_values(run.read_config(), str(run.path / "config.toml"))
    policy, step = policy_of_run(run, asked.step, warn)
    dataset = asked.dataset or config.dataset
    opened = open_log(dataset, _options(config, dataset), progress)
    for finding in opened.findings:
        warn(f"{finding.meaning} [{finding.name}]")
    own = _is_own(run, opened.log, named=asked.dataset is not None)
    samples = _samples(run, config, opened.log, own)
    require_fit_to_log(
        policy, opened.log, samples, "the policy", "Name a log of a policy of the same kind: --dataset LOG"
    )
    question = Question(
        policy=policy,
        samples=samples,
        space=opened.log.action_space,
        folds=own_folds(samples) if own else crossed_folds(samples),
        discount=config.discount if asked.discount is None else asked.discount,
        level=asked.level,
        settings=settings,
        start=_start(run, step),
    )
    found = judge(question, progress or _unseen, updates=UPDATES, seed=asked.seed)
    return {
        "run": str(run.path),
        "step": step,
        "dataset": {"name": opened.log.name, "fingerprint": opened.log.fingerprint, "trained_on": own},
        "log_probs": opened.log.log_probs_origin,
        "offline": found,
    }


def _options(config: TrainConfig, dataset: str) -> LogOptions:
    """How to read a log: the run's own as the run did; another's log-probs are its own, and nothing of it is mended."""
    if dataset == config.dataset:
        return config.log_options()
    return LogOptions(log_prob_key=config.log_prob_key, log_prob_convention=config.log_prob_convention)


def _start(run: RunDirectory, step: int) -> Policy | None:
    """The policy that --init gave; none where training began at the log's own."""
    began = run.record().get("warm_start")
    if not step or not isinstance(began, dict) or began.get("kind") != "checkpoint":
        return None
    return checkpoints.policy_of(checkpoints.load(run.path / "checkpoints" / "step-00000000"))


def _is_own(run: RunDirectory, log: Trajectories, *, named: bool) -> bool:
    """Whether the log is the one that the run was trained on.

    Raises:
        RunError: it should be, and has changed.
    """
    dataset = run.record().get("dataset")
    recorded = dataset.get("fingerprint") if isinstance(dataset, dict) else None
    if recorded != log.fingerprint and not named:
        raise RunError(
            f"{run.path} was trained on another log: fingerprint {recorded}, that of {log.name} is {log.fingerprint}.",
            "Bring back the log that the run began with, or name one that trained nothing: --dataset LOG",
        )
    return recorded == log.fingerprint


def _samples(run: RunDirectory, config: TrainConfig, log: Trajectories, own: bool) -> Samples:
    """The log as tensors; of the run's own, the rows of the version that training started from are home."""
    samples = to_samples(log, config.held_out_fraction, config.seed, torch.device("cpu"))
    start = run.record().get("warm_start")
    version = start.get("version") if own and isinstance(start, dict) else None
    return samples.started_from(version if isinstance(version, int) else None)


def _unseen(name: str, total: int) -> Any:
    from contextlib import nullcontext

    return nullcontext(lambda n=1, **figures: None)
