"""What every reader must know of behaviour log-probs: their names, their density, and what to say where they lack."""

from pathlib import Path
from typing import cast

import numpy as np

from gipo_cli.data.trajectories import CONVENTIONS, Convention
from gipo_cli.errors import DataError

LOG_PROB_NAMES = (
    "action_log_probs", "action_log_prob", "log_prob", "log_probs", "logp", "logprob", "logprobs",
    "behavior_log_prob", "behaviour_log_prob", "behaviour_log_probs", "behavior_logp", "sample_log_prob",
    "old_log_prob", "old_log_probs", "logp_old", "action_logp",
)  # fmt: skip
# A Gaussian's actions reach beyond [-1, 1], or were clipped to its bounds; a tanh hardly ever rounds to them.
MOST_AT_BOUNDS = 0.001


def no_log_probs(where: str | Path, form: str, instead: str = "") -> DataError:
    """The error for a log whose behaviour policy's log-probs are not there.

    Args:
        where: the file, or the episode in it.
        form: key and shape that this format would keep them under.
        instead: what the log holds in their place, as a sentence.
    """
    lines = (
        instead,
        "GIPO weighs every logged action by pi(a|s) / beta(a|s) and needs the natural log of beta(a|s), one a step,",
        f"as {form} (looked for {LOG_PROB_NAMES[0]} and {len(LOG_PROB_NAMES) - 1} other names).",
        "They cannot be made up afterwards: add the column if the policy is known, or record a log with them:",
        "gipo datasets record --environment ID --policy FILE.safetensors --steps N --out LOG.hdf5",
    )
    return DataError(
        f"{where} has no log-probabilities of the behaviour policy.", "\n".join(text for text in lines if text)
    )


def convention_of(
    where: str | Path, actions: np.ndarray, declared: str | float | None, notes: list[str]
) -> tuple[Convention, np.ndarray]:
    """Which density the log-probs are of, as declared or else as the actions suggest; and the actions in its shape.

    A guess is added to `notes`: a tanh-squashed policy and a Gaussian one give the same action different densities.

    Returns:
        The convention, and actions [N] int64 where it is categorical, else [N, A].

    Raises:
        DataError: discrete actions of more than one choice a step.
    """
    if actions.dtype.kind in "iu" or declared == "categorical":
        flat = actions[:, 0] if actions.ndim == 2 and actions.shape[1] == 1 else actions
        if flat.ndim != 1:
            raise DataError(f"{where}: discrete actions have shape {list(actions.shape)}; expected one choice a step.")
        return "categorical", flat.astype(np.int64)
    actions = actions[:, None] if actions.ndim == 1 else actions
    if declared in CONVENTIONS:
        return cast(Convention, declared), actions
    size = np.abs(actions)
    squashed = size.max(initial=0) <= 1 and (size == 1).mean() < MOST_AT_BOUNDS
    guess: Convention = "tanh_gaussian" if squashed else "gaussian"
    notes.append(f"the file does not name the density of its log-probs; its actions suggest {guess}.")
    return guess, actions
