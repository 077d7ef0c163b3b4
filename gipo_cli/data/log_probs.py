"""What every reader must know of behaviour log-probs: their names, their density, and what to say where they lack."""

from collections.abc import Callable, Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import cast

import numpy as np

from gipo_cli.data.options import ReadOptions
from gipo_cli.data.trajectories import BLOCK, CONVENTIONS, Convention, Trajectories
from gipo_cli.errors import DataError

LOG_PROB_NAMES = (
    "action_log_probs", "action_log_prob", "log_prob", "log_probs", "logp", "logprob", "logprobs",
    "behavior_log_prob", "behaviour_log_prob", "behaviour_log_probs", "behavior_logp", "sample_log_prob",
    "old_log_prob", "old_log_probs", "logp_old", "action_logp",
)  # fmt: skip
DISCRETE = ("categorical", "multi_categorical")
# A Gaussian's actions reach beyond [-1, 1], or were clipped to its bounds; a tanh hardly ever rounds to them.
MOST_AT_BOUNDS = 0.001
MOST_LOOKED_AT = 16 * BLOCK  # rows that tell one density from another
MOST_LISTED = 40  # names in a message
HALF_LOG_2_PI = 0.5 * np.log(2 * np.pi)


def log_prob_key(
    options: ReadOptions, has: Callable[[str], bool], groups: tuple[str, ...], place: Path, held: Iterable[str]
) -> str | None:
    """Where a file keeps its log-probs: the key that was asked for, else the first usual name it has, else none.

    Args:
        options: `log_prob_key` names the key as the file has it.
        has: whether the file has a column of this key.
        groups: prefixes under which the usual names are looked for, in this order.
        place: the file.
        held: what it holds, for the error.

    Raises:
        DataError: the key that was asked for is not there; the nearest one that is is named.
    """
    if options.log_prob_key:
        for group in ("", *groups):
            if has(group + options.log_prob_key):
                return group + options.log_prob_key
        names = sorted(map(str, held))
        near = get_close_matches(options.log_prob_key, names, n=1)
        listed = ", ".join(names[:MOST_LISTED]) + (", ..." if len(names) > MOST_LISTED else "")
        raise DataError(
            f"{place} has no column '{options.log_prob_key}'.",
            f"Did you mean '{near[0]}'?" if near else f"It holds: {listed or 'nothing'}.",
        )
    return next((group + name for group in groups for name in LOG_PROB_NAMES if has(group + name)), None)


def what_there_is(where: str, keys: Iterable[str] | None) -> str:
    """A note for a log without log-probs: what stands where they would be."""
    return f"no log-probs: its {where} hold {', '.join(sorted(map(str, keys or ()))) or 'nothing'}."


def no_log_probs(log: Trajectories) -> DataError:
    """The error for a log whose behaviour policy's log-probs are not there."""
    lines = (
        *(note for note in log.notes if note.startswith("no log-probs: ")),
        "GIPO weighs every logged action by pi(a|s) / beta(a|s) and needs the natural log of beta(a|s), one a step",
        f"(looked for {LOG_PROB_NAMES[0]} and {len(LOG_PROB_NAMES) - 1} other names).",
        "Under another name:             --log-prob-key NAME",
        "The policy that acted is known: --behaviour POLICY.safetensors computes them, exactly",
        "Nothing is known:               --estimate-behaviour clones it; what follows is marked 'estimated'",
    )
    return DataError(f"{log.source} has no log-probabilities of the behaviour policy.", "\n".join(lines))


def convention_of(
    where: str | Path, actions: np.ndarray, declared: str | float | None, notes: list[str]
) -> tuple[Convention, np.ndarray]:
    """Which density the log-probs are of, as declared or else as the actions suggest; and the actions in its shape.

    A guess is added to `notes`: a tanh-squashed policy and a Gaussian one give the same action different densities.

    Returns:
        The convention, and actions int64 where they are choices, [N] of one a step and [N, A] of one in each
        dimension, else [N, A] of real numbers.

    Raises:
        DataError: actions of no dimension, more than one choice a step where one is declared, or choices that are no
            whole numbers.
    """
    if actions.size == 0:
        raise DataError(f"{where}: the actions have shape {list(actions.shape)}; expected one dimension or more.")
    if declared in DISCRETE or (declared not in CONVENTIONS and actions.dtype.kind in "iu"):
        one = declared == "categorical" or (declared != "multi_categorical" and actions.size == len(actions))
        return ("categorical" if one else "multi_categorical"), _choices(where, actions, one)
    actions = actions[:, None] if actions.ndim == 1 else actions
    actions = actions.astype(np.float32) if actions.dtype.kind in "iu" else actions  # doses, say, of whole units
    if declared in CONVENTIONS:
        return cast(Convention, declared), actions
    largest, at_bounds = 0.0, []
    for start in range(0, min(len(actions), MOST_LOOKED_AT), BLOCK):
        size = np.abs(actions[start : start + BLOCK])
        largest = max(largest, float(size.max(initial=0)))
        at_bounds.append((size == 1).mean())
    squashed = largest <= 1 and np.mean(at_bounds) < MOST_AT_BOUNDS
    guess: Convention = "tanh_gaussian" if squashed else "gaussian"
    notes.append(f"the file does not name the density of its log-probs; its actions suggest {guess}.")
    return guess, actions


def _choices(where: str | Path, actions: np.ndarray, one: bool) -> np.ndarray:
    flat = actions[:, 0] if one and actions.ndim == 2 and actions.shape[1] == 1 else actions
    flat = flat[:, None] if not one and flat.ndim == 1 else flat
    if flat.ndim != (1 if one else 2):
        expected = "one choice a step" if one else "[N, A], one choice in each of A dimensions"
        raise DataError(f"{where}: discrete actions have shape {list(actions.shape)}; expected {expected}.")
    if flat.dtype.kind == "f" and not np.isfinite(flat).all():
        row = int((~np.isfinite(flat)).reshape(len(flat), -1).any(-1).argmax())
        raise DataError(f"{where}: the action of row {row} is {flat[row]}; expected the number of a choice.")
    choices = flat.astype(np.int64)
    if not np.array_equal(choices, flat):
        row = int((choices != flat).reshape(len(flat), -1).any(-1).argmax())
        raise DataError(f"{where}: the action of row {row} is {flat[row]}; expected the number of a choice.")
    return choices


def gaussian_log_probs(mean: np.ndarray, log_std: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """Joint log-density of actions under a Gaussian with a standard deviation for each dimension.

        log beta(a|s) = sum_i [-((a_i - mean_i) / std_i)^2 / 2 - log std_i - log(2 pi) / 2]

    The action is the one that was sampled: of a clipped one this is the density of another event. Columns may be
    mapped from the disk; a block of rows is in memory at a time.

    Args:
        mean: [N, A].
        log_std: natural log of the standard deviation, [N, A], or [1, A] for all rows.
        actions: [N, A].

    Returns:
        float64, [N]. Not finite where an input is not.
    """
    log_probs = np.empty(len(actions))
    log_std = np.broadcast_to(log_std, actions.shape)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for start in range(0, len(actions), BLOCK):
            here = slice(start, start + BLOCK)
            scale = np.asarray(log_std[here], np.float64)
            z = (np.asarray(actions[here], np.float64) - mean[here]) * np.exp(-scale)
            log_probs[here] = (-0.5 * z**2 - scale - HALF_LOG_2_PI).sum(-1)
    return log_probs


def categorical_log_probs(logits: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """Log-probability of choices under a softmax; logits need not be normalised.

        log beta(a|s) = logits_a - log sum_k exp(logits_k)

    Args:
        logits: [N, K].
        actions: choices from 0, [N] int; one that is not below K is an IndexError.

    Returns:
        float64, [N]. Not finite where a logit is nan.
    """
    log_probs = np.empty(len(actions))
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        for start in range(0, len(actions), BLOCK):
            here = slice(start, start + BLOCK)
            block = np.asarray(logits[here], np.float64)
            block = block - block.max(-1, keepdims=True)  # exp would overflow
            taken = np.take_along_axis(block, np.asarray(actions[here])[:, None], -1)[:, 0]
            log_probs[here] = taken - np.log(np.exp(block).sum(-1))
    return log_probs
