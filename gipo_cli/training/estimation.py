"""Log-probs of a behaviour policy that nobody recorded: a clone, cross-fitted over episodes.

The clone that gives a step its log-prob has never seen the episode of that step. Without that, it would be too sure of
the actions it was fitted to, and every ratio too low. What comes of it is a guess, and is called `estimated` for good.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gipo_cli.config import TrainConfig
from gipo_cli.data.cache import cached_array, scratch
from gipo_cli.data.trajectories import Trajectories
from gipo_cli.errors import DataError
from gipo_cli.policies.slices import sliced
from gipo_cli.training.columns import as_column, chunks, joined, mean, of_type, rows_where
from gipo_cli.training.samples import Samples, to_samples
from gipo_cli.training.warm_start import clone

FOLDS = 5
# Half the batch and half the updates of a warm start: five of them are fitted.
STEPS, BATCH = 6000, 512
STOP_ON = 10  # one episode in so many decides when a clone stops
WORRYING_GAP = 0.3  # nats between rows seen and not seen; an overfitted clone's ratios are that far off

Progress = Callable[[str, int], AbstractContextManager[Callable[..., None]]]


def estimate_behaviour(
    log: Trajectories, seed: int, progress: Progress | None = None
) -> tuple[Trajectories, dict[str, Any]]:
    """Give a log estimated log-probs, and say how good the estimate is.

    Episodes are dealt into 5 folds; the rows of a fold get log q(a|s) from a clone fitted to the other four, its length
    chosen on one episode in ten of those.

    Returns:
        The log with `log_probs_origin="estimated"`, and figures in nats: `held_out_nll`, the mean -log q of rows not
        seen; `held_in_nll`, that of rows the same clones were fitted to; `gap` between them.

    Raises:
        DataError: fewer episodes than folds.
    """
    if log.episodes < FOLDS:
        raise DataError(
            f"{log.name} has {log.episodes} episodes; at least {FOLDS} are needed to estimate its behaviour policy.",
            "An episode's log-probs come from a clone that has not seen it.",
        )
    # Zeros: what the clone calls its distance from beta is then its negative log-likelihood.
    log = replace(log, behaviour_log_probs=np.zeros(log.transitions, np.float32))
    fold = np.random.default_rng((seed, FOLDS)).permutation(log.episodes) % FOLDS
    key = f"{log.fingerprint} {seed} {FOLDS} {STEPS} {BATCH} by version"

    def fit() -> np.ndarray:
        return _cross_fit(log, fold, seed, progress or (lambda name, total: nullcontext(lambda n=1, **figures: None)))

    held_out, held_in = cached_array("estimated", key, fit)
    estimated = replace(log, behaviour_log_probs=of_type(held_out, np.float32), log_probs_origin="estimated")
    seen, unseen = (mean(as_column(each, np.float64, torch.device("cpu"))).item() for each in (held_in, held_out))
    figures = {"folds": FOLDS, "held_out_nll": -unseen, "held_in_nll": -seen, "gap": seen - unseen}
    note = (
        f"log-probs are estimated by {FOLDS} clones on episodes they have not seen: negative log-likelihood "
        f"{figures['held_out_nll']:.3f} nats, {figures['gap']:.3f} above that of rows seen."
    )
    return replace(estimated, notes=(*log.notes, note)), figures


def _cross_fit(log: Trajectories, fold: np.ndarray, seed: int, progress: Progress) -> np.ndarray:
    """Log q of every row by a clone that has not seen it, and by one that has, [2, N]."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the same numbers on any number of cores
    config = TrainConfig(dataset=log.source, seed=seed, clone_steps=STEPS, batch_size=BATCH)
    samples = to_samples(log, config.held_out_fraction, seed, torch.device("cpu"))
    found = scratch((2, log.transitions), np.dtype(np.float64))
    try:
        for k in range(FOLDS):
            policy = clone(config, log, _without(samples, fold, k), progress)
            for row, which in ((0, fold == k), (1, fold == (k + 1) % FOLDS)):
                for rows in chunks(_rows_of(samples, which)):
                    with torch.no_grad():
                        found[row, rows] = sliced(partial(samples.log_prob, policy), rows).numpy()
    finally:
        torch.set_num_threads(threads)
    return found


def _without(samples: Samples, fold: np.ndarray, k: int) -> Samples:
    """The samples with fold k taken away from what is fitted and from what decides when fitting stops."""
    remaining = np.flatnonzero(fold != k)
    stopping = np.zeros(len(fold), bool)
    stopping[remaining[::STOP_ON]] = True
    learning = (fold != k) & ~stopping
    return replace(samples, held_in_rows=_rows_of(samples, learning), held_out_rows=_rows_of(samples, stopping))


def _rows_of(samples: Samples, which: np.ndarray) -> Tensor:
    """Numbers of the rows of certain episodes, [E] bool."""
    mask = torch.as_tensor(which)
    return rows_where(joined(len(samples.reward), (mask[samples.episode[rows]] for rows in samples.every_row())))
