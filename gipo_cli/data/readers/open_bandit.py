"""The Open Bandit Dataset's CSV: one recommendation a row, with the probability that the item was chosen.

Every row is an episode of one step. The action is the item; the reward is the click; the log-prob is the natural log
of `propensity_score`, the probability of the item given the user and the position. What the policy saw is therefore
the position in the list (one-hot), the user's features (hashed words, one-hot) and, where they are there, the user's
affinity to every item; they make the observation, in that order. The one-hot places follow the sorted words of this
file: a policy trained on one file is not meant for another with other words.
"""

import csv
from pathlib import Path

import numpy as np

from gipo_cli.data import arrow
from gipo_cli.data.flat import FlatLog, to_trajectories
from gipo_cli.data.options import ReadOptions
from gipo_cli.data.places import first_bytes, inside
from gipo_cli.data.readers import Reader
from gipo_cli.data.trajectories import Trajectories
from gipo_cli.errors import DataError

NEEDED = ("item_id", "position", "click", "propensity_score")
ITEMS = "item_context.csv"  # beside each campaign: what the items are, and no log
USER, AFFINITY = "user_feature_", "user-item_affinity_"
MOST_WORDS = 1000  # of one feature; each is a number of the observation
MOST_POSITIONS = 100
MOST_ITEMS = 1 << 20
HEADER = 1 << 16


def recognises(place: Path) -> bool:
    """Whether it is a CSV with the columns of the Open Bandit Dataset, or a directory that holds one."""
    try:
        return bool(_logs(place))
    except (OSError, ValueError, csv.Error, DataError):
        return False


def _logs(place: Path) -> list[Path]:
    files = [inside(place, file) for file in sorted(place.glob("*.csv"))] if place.is_dir() else [place]
    return [file for file in files if file.name != ITEMS and set(NEEDED) <= set(_header(file))]


def _header(file: Path) -> list[str]:
    if file.suffix.lower() != ".csv":
        return []
    lines = first_bytes(file, (), HEADER).decode("utf-8-sig", "replace").splitlines()
    return next(csv.reader(lines[:1]), [])


def read(place: Path, name: str, options: ReadOptions) -> Trajectories:
    """Read a campaign.

    Raises:
        DataError: the file is damaged, a probability is none, or the directory holds several campaigns.
    """
    logs = _logs(place)
    if len(logs) != 1:
        names = ", ".join(file.name for file in logs)
        raise DataError(f"{place} holds {len(logs)} campaigns ({names}); expected one.", "Give the file itself.")
    file = inside(place, logs[0]) if place.is_dir() else place
    table = arrow.open_table(file, arrow.CSV)
    key = options.log_prob_key or "propensity_score"
    if key not in table.fields:
        raise DataError(f"{file} has no column '{key}'.", f"It holds: {', '.join(list(table.fields)[:40])}.")
    users = [found for found in table.fields if found.startswith(USER)]
    affinities = [found for found in table.fields if found.startswith(AFFINITY)]
    table = arrow.prepared(table, list(dict.fromkeys((*NEEDED, key, *users, *affinities))))
    items = arrow.numbers(table, "item_id")
    wrong = ~((items >= 0) & (items < MOST_ITEMS) & (items == np.floor(items)))
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(f"{file}: 'item_id' of row {row} is {items[row]:g}; expected the number of an item.")
    chosen = items.astype(np.int64)
    observations = np.concatenate(
        [_positions(file, table), *(_one_hot(*arrow.words(table, user, MOST_WORDS)) for user in users),
         *([_single(arrow.numbers(table, affinities))] if affinities else [])], axis=1,
    )  # fmt: skip
    choices = max(len(affinities), int(chosen.max(initial=0)) + 1)
    return to_trajectories(
        FlatLog(
            place=file,
            name=name,
            observations=observations,
            actions=chosen,
            rewards=arrow.numbers(table, "click"),
            log_probs=arrow.numbers(table, key) if options.log_prob_key else _logs_of(file, table, key),
            terminals=np.ones(len(chosen), bool),
            final_observations=observations,  # nothing follows a terminal step; what stands there is never used
            declared_convention="categorical",
            choices=[choices],
            notes=[f"each of the {len(chosen):,} recommendations is an episode of one step, of {choices} items."],
            names={"actions": "item_id", "rewards": "click", "log_probs": key},
        )
    )


def _positions(file: Path, table: arrow.Table) -> np.ndarray:
    known, codes = np.unique(arrow.numbers(table, "position"), return_inverse=True)
    if len(known) > MOST_POSITIONS:
        raise DataError(f"{file}: 'position' has {len(known)} different values; expected places in a short list.")
    return _one_hot(codes, known)


def _single(numbers: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):  # what float32 has no number for becomes infinite, and the checks refuse it
        return numbers.astype(np.float32)


def _one_hot(codes: np.ndarray, known: np.ndarray | list[str]) -> np.ndarray:
    places = np.zeros((len(codes), len(known)), np.float32)
    places[np.arange(len(codes)), codes] = 1
    return places


def _logs_of(file: Path, table: arrow.Table, key: str) -> np.ndarray:
    probabilities = arrow.numbers(table, key)
    wrong = ~((probabilities > 0) & (probabilities <= 1))
    if wrong.any():
        row = int(wrong.argmax())
        raise DataError(
            f"{file}: '{key}' of row {row} is {probabilities[row]:.4g}; expected a probability above 0 and up to 1."
        )
    return np.log(probabilities)


OPEN_BANDIT = Reader(recognises=recognises, read=read)
