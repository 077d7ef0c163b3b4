"""RLlib's offline data: JSON lines of SampleBatches (old stack) and Parquet of one row a step (new stack).

RLlib packs columns, by default the observations, as base64 of a pickle, and its own reader runs whatever such a cell
holds. Here a cell of text where numbers belong is refused, never unpacked. RLlib's reader also skips lines it cannot
parse; here such a line is an error.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np

from gipo_cli.data import arrow, json_text
from gipo_cli.data.flat import FlatLog, to_trajectories
from gipo_cli.data.interleaved import in_order, restarts
from gipo_cli.data.log_probs import categorical_log_probs, gaussian_log_probs, log_prob_key, what_there_is
from gipo_cli.data.options import ReadOptions
from gipo_cli.data.places import files_of, first_bytes
from gipo_cli.data.readers import Reader
from gipo_cli.data.trajectories import Trajectories
from gipo_cli.errors import DataError

JSON = (".json", ".jsonl")
NEEDED = ("obs", "actions", "rewards")
NUMBERS = (
    *NEEDED, "new_obs", "actions_for_env", "terminateds", "truncateds", "dones", "t", "action_logp", "action_prob",
    "action_dist_inputs",
)  # fmt: skip
# Which episode a row is of; text in the new stack. An unroll is a piece of an episode, and no episode of its own.
NAMED = ("eps_id", "agent_index", "agent_id")
LONGEST_LINE = 2**28  # RLlib begins a new file after 64 MiB
BATCH = re.compile(rb'"type"\s*:\s*"(SampleBatch|MultiAgentBatch)"')
BESIDE = ("params.json", "result.json")  # what an experiment keeps in the directory of its output
NAMES = {
    "observations": "obs", "next_observations": "new_obs", "log_probs": "action_logp", "terminals": "terminateds",
    "timeouts": "truncateds", "done": "dones", "episodes": "eps_id", "executed_actions": "actions_for_env",
}  # fmt: skip
PACKED = "packed (base64 or msgpack of Python objects); unpacking it would run code that the file brings along"
REMEDY = (
    "Write it with plain columns: config.offline_data(output_compress_columns=[], output_write_episodes=False), "
    "or JsonWriter(..., compress_columns=[])."
)
AGREES = 0.01  # nats between recorded log-probs and those of the recorded distribution, in the median
COMPARED_ROWS = 4096


def recognises(place: Path) -> bool:
    """Whether the first line is a SampleBatch, or the table has RLlib's columns."""
    if BATCH.search(first_bytes(place, JSON, 4096)):
        return True
    try:
        if place.is_dir() and any(BATCH.search(first_bytes(file, JSON, 4096)) for file in _outputs(place)):
            return True
        if first_bytes(place, arrow.PARQUET, 4) != b"PAR1":
            return False
        names = set(arrow.names_of(place, arrow.PARQUET))
    except DataError:
        return False
    return names == {"item"} or ({"obs", "actions"} <= names and bool(names & {"eps_id", "terminateds", "module_id"}))


def read(place: Path, name: str, options: ReadOptions) -> Trajectories:
    """Read what RLlib wrote, a file or the directory of an experiment; episodes that take turns are put together.

    Raises:
        DataError: packed columns, a line that is not JSON, several policies, columns that are missing or do not fit.
    """
    if first_bytes(place, arrow.PARQUET, 4) == b"PAR1":
        columns, held = _from_parquet(place, options)
    else:
        columns, held = _from_json(place, options)
    for needed in NEEDED:
        if needed not in columns:
            raise DataError(f"{place} has no column '{needed}'.", f"It holds: {', '.join(sorted(held)) or 'nothing'}.")
    rows = len(columns["obs"])
    for key, column in columns.items():
        if len(column) != rows:
            raise DataError(f"{place}: '{key}' has {len(column)} rows, 'obs' {rows}; expected as many.")
    columns = {k: c[:, 0] if k == "t" and c.ndim == 2 and c.shape[1] == 1 else c for k, c in columns.items()}
    episodes = _episodes(place, columns, rows)
    steps = columns.get("t")
    order = None if episodes is None else in_order(place, episodes, steps)
    notes: list[str] = []
    if order is not None:
        columns = {key: column[order] for key, column in columns.items()}
        episodes, steps = cast(np.ndarray, episodes)[order], columns.get("t")
        notes.append("rows of several episodes took turns; each episode was put together by eps_id and t.")
    return to_trajectories(_flat(place, name, options, columns, restarts(episodes, steps, rows), notes, held))


def _flat(
    place: Path, name: str, options: ReadOptions, columns: dict[str, np.ndarray], episodes: np.ndarray,
    notes: list[str], held: set[str],
) -> FlatLog:  # fmt: skip
    actions = columns["actions"]
    inputs = columns.get("action_dist_inputs")
    discrete = actions.dtype.kind in "iu"
    key = log_prob_key(options, columns.__contains__, ("",), place, held)
    log_probs = columns[key] if key else None
    if key == "action_logp" and log_probs is not None and not log_probs.any():
        notes.append("action_logp is zero throughout, which is what RLlib writes where its policy did not fill it.")
        log_probs = None
    declared = options.log_prob_convention or None
    if log_probs is None:
        log_probs, density = _computed(place, columns, declared, notes)
        declared = declared or density
    elif not discrete and declared is None:
        declared = _density(actions, inputs, log_probs)
    if log_probs is None:
        notes.append(what_there_is("columns", held))
    executed = columns.get("actions_for_env")
    if discrete or (executed is not None and np.array_equal(executed, actions)):
        executed = None
    return FlatLog(
        place=place,
        name=name,
        observations=columns["obs"],
        actions=actions,
        rewards=columns["rewards"],
        log_probs=log_probs,
        terminals=columns.get("terminateds"),
        timeouts=columns.get("truncateds"),
        done=columns.get("dones"),
        next_observations=columns.get("new_obs"),
        episodes=episodes,
        executed_actions=executed,
        declared_convention=declared,
        choices=[inputs.shape[1]] if discrete and inputs is not None and inputs.ndim == 2 else None,
        notes=notes,
        names=NAMES | ({"log_probs": key} if key else {}),
    )


def _episodes(place: Path, columns: dict[str, np.ndarray], rows: int) -> np.ndarray | None:
    """One number for each episode of each agent, [N]; none where the file names no episodes."""
    found = [columns[name].reshape(-1) for name in NAMED if name in columns]
    if "eps_id" not in columns:
        return None
    if any(column.shape != (rows,) for column in found):
        raise DataError(f"{place}: eps_id has shape {list(columns['eps_id'].shape)}; expected [{rows}].")
    codes = np.zeros(rows, np.int64)
    for column in found:
        _, inverse = np.unique(column, return_inverse=True)
        codes = np.unique(codes * (int(inverse.max(initial=0)) + 1) + inverse, return_inverse=True)[1]
    return codes


def _computed(
    place: Path, columns: dict[str, np.ndarray], declared: str | None, notes: list[str]
) -> tuple[np.ndarray | None, str | None]:
    """Log-probs from what stands beside them: the parameters of the distribution, else the probability."""
    actions, inputs, prob = columns["actions"], columns.get("action_dist_inputs"), columns.get("action_prob")
    if inputs is not None and inputs.ndim == 2:
        if actions.dtype.kind in "iu" and actions.size == len(actions):
            actions = actions.reshape(-1)
            if actions.min(initial=0) < 0 or actions.max(initial=0) >= inputs.shape[1]:
                raise DataError(
                    f"{place}: actions range from {actions.min()} to {actions.max()}, and 'action_dist_inputs' has "
                    f"logits of {inputs.shape[1]} choices."
                )
            notes.append("log-probs computed from action_dist_inputs, as logits of the choices.")
            return categorical_log_probs(inputs, actions), None
        actions = actions.reshape(len(actions), -1)
        if inputs.shape[1] == 2 * actions.shape[1] and actions.dtype.kind == "f":
            notes.append("log-probs computed from action_dist_inputs, as mean and log standard deviation.")
            mean, log_std = np.split(inputs, 2, axis=1)
            if declared == "tanh_gaussian":
                return _squashed_log_probs(mean, log_std, actions), declared
            return gaussian_log_probs(mean, log_std, actions), "gaussian"
    if prob is not None and prob.any():
        if not (prob > 0).all():
            row = int((~(prob.reshape(len(prob), -1) > 0)).any(1).argmax())
            raise DataError(f"{place}: 'action_prob' of row {row} is not above 0; expected a probability or density.")
        notes.append("log-probs computed as the natural log of action_prob.")
        return np.log(prob.astype(np.float64)), None
    return None, None


def _density(actions: np.ndarray, inputs: np.ndarray | None, log_probs: np.ndarray) -> str | None:
    """Which density the log-probs are of, where the file has its parameters: the one that gives the same numbers."""
    actions = actions.reshape(len(actions), -1)[:COMPARED_ROWS]
    if inputs is None or inputs.ndim != 2 or inputs.shape[1] != 2 * actions.shape[1]:
        return None
    mean, log_std = np.split(inputs[:COMPARED_ROWS].astype(np.float64), 2, axis=1)
    recorded = log_probs[:COMPARED_ROWS].reshape(len(actions), -1).sum(1)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        candidates = {
            "gaussian": gaussian_log_probs(mean, log_std, actions),
            "tanh_gaussian": _squashed_log_probs(mean, log_std, actions),
        }
    # RLlib clips what it squashes; such rows differ, and the median does not see them.
    return next((name for name, c in candidates.items() if np.median(np.abs(c - recorded)) < AGREES), None)


def _squashed_log_probs(mean: np.ndarray, log_std: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """Joint log-density of tanh(u), u Gaussian, [N]; an action at a bound counts as one that float32 tells from it."""
    inside = np.clip(actions.astype(np.float64), -1 + 2**-24, 1 - 2**-24)
    return gaussian_log_probs(mean, log_std, np.arctanh(inside)) - np.log1p(-(inside**2)).sum(1)


def _from_parquet(place: Path, options: ReadOptions) -> tuple[dict[str, np.ndarray], set[str]]:
    table = arrow.open_table(place, arrow.PARQUET)
    if set(table.fields) == {"item"}:
        raise DataError(f"{place}: its episodes are {PACKED}.", REMEDY)
    columns: dict[str, np.ndarray] = {}
    for key in (*NUMBERS, options.log_prob_key):
        if not key or key not in table.fields:
            continue
        if arrow.is_text(table.fields[key].type):
            raise DataError(f"{place}: '{key}' is {PACKED}.", REMEDY)
        columns[key] = arrow.numbers(table, key)
    for key in NAMED:
        kind = table.fields[key].type if key in table.fields else None
        if kind is not None and str(kind) != "null":
            columns[key] = arrow.words(table, key)[0] if arrow.is_text(kind) else arrow.numbers(table, key)
    return columns, set(table.fields)


def _from_json(place: Path, options: ReadOptions) -> tuple[dict[str, np.ndarray], set[str]]:
    pieces: dict[str, list[np.ndarray]] = {}
    wanted, held, first = (*NUMBERS, *NAMED, options.log_prob_key), set(), None
    for where, batch in _batches(place):
        held |= set(batch)
        found = {key: _array(where, key, batch[key]) for key in wanted if key and key in batch}
        lengths = {len(column) for column in found.values()}
        if len(lengths) > 1:
            lines = ", ".join(f"{key} {len(column)}" for key, column in found.items())
            raise DataError(f"{where} has columns of different lengths: {lines}.")
        if lengths == {0}:
            continue
        if first is not None and set(found) != set(first):
            odd = sorted(set(found) ^ set(first))[0]
            raise DataError(f"{where}: '{odd}' is not in every line; expected the same columns throughout.")
        first = first or found
        for key, column in found.items():
            if column.shape[1:] != first[key].shape[1:]:
                raise DataError(f"{where}: '{key}' has rows of shape {list(column.shape[1:])}; "
                                f"expected {list(first[key].shape[1:])} as before.")  # fmt: skip
            pieces.setdefault(key, []).append(column)
    return {key: np.concatenate(column) for key, column in pieces.items()}, held


def _outputs(place: Path) -> list[Path]:
    """The files of batches: of an experiment's directory not what it keeps beside them."""
    return [file for file in files_of(place, JSON) if file == place or file.name not in BESIDE]


def _batches(place: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The columns of each line, and where it stands."""
    policy = None
    for file in _outputs(place):
        try:
            with file.open("rb") as lines:
                number = 0
                while line := lines.readline(LONGEST_LINE):
                    number += 1
                    where = f"{file}: line {number}"
                    if len(line) == LONGEST_LINE:
                        raise DataError(f"{where} is longer than {LONGEST_LINE >> 20} MiB.")
                    if not line.strip():
                        continue
                    batch, of = _batch(where, json_text.parse(line, where))
                    if policy is not None and of != policy:
                        raise DataError(f"{where} is of policy '{of}', lines before of '{policy}'; expected one.")
                    policy = of
                    yield where, batch
        except OSError as error:
            raise DataError(f"{file} cannot be read ({error.strerror or error}).") from error


def _batch(where: str, record: Any) -> tuple[dict[str, Any], str]:
    kind = record.get("type") if isinstance(record, dict) else None
    if kind == "SampleBatch":
        return record, ""
    policies = record.get("policy_batches") if kind == "MultiAgentBatch" else None
    if not isinstance(policies, dict) or not all(isinstance(batch, dict) for batch in policies.values()):
        raise DataError(f"{where} is neither a SampleBatch nor a MultiAgentBatch.")
    if len(policies) != 1:
        names = ", ".join(sorted(policies)[:10]) or "none"
        raise DataError(f"{where} has {len(policies)} policies ({names}); expected one.", "Write one file a policy.")
    return next(iter(policies.values())), next(iter(policies))


def _array(where: str, key: str, value: Any) -> np.ndarray:
    """A column of a line as numbers.

    Raises:
        DataError: it is packed, ragged, no numbers, or numbers that are not finite or beyond 64 bits.
    """
    if isinstance(value, str) or (isinstance(value, list) and value and isinstance(value[0], str) and key in NUMBERS):
        raise DataError(f"{where}: '{key}' is {PACKED}.", REMEDY)
    try:
        column = np.asarray(value)
    except (ValueError, OverflowError) as error:
        raise DataError(f"{where}: '{key}' has rows of different shapes; expected numbers in equal rows.") from error
    if column.ndim == 0 or column.dtype.kind not in ("biufU" if key in NAMED else "biuf"):
        raise DataError(f"{where}: '{key}' does not hold numbers; expected one row a step.")
    if column.dtype.kind == "f" and key in ("obs", "new_obs"):
        with np.errstate(over="ignore"):
            column = column.astype(np.float32)
    if column.dtype.kind == "f" and not np.isfinite(column).all():
        row = int((~np.isfinite(column.reshape(len(column), -1))).any(1).argmax())
        raise DataError(f"{where}: '{key}' holds a number that is not finite in row {row}.")
    if column.dtype.kind == "u":  # beyond int64
        raise DataError(f"{where}: '{key}' holds a whole number beyond 64 bits.")
    return column


RLLIB = Reader(recognises=recognises, read=read)
