"""Twelve episodes as Minari itself writes them, and what they hold."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from gymnasium import spaces

FORMATS = ("hdf5", "arrow", "parquet")
COLUMNAR = ("arrow", "parquet")
LENGTHS = (5, 1, 4, 3, 2, 6, 1, 3, 2, 4, 5, 3)  # twelve, so that episode 10 must not come after episode 1
STARTS = np.cumsum([0, *LENGTHS])
BOX = spaces.Box(-np.inf, np.inf, (3,), np.float32)
ACTS = spaces.Box(-2, 2, (2,), np.float32)


def log_probs(k):
    """Step t of episode k has -(100 k + t) - 1."""
    return -1.0 - np.arange(LENGTHS[k]) - 100 * k


ALL = np.concatenate([log_probs(k) for k in range(len(LENGTHS))])


def of_space(space, rng, rows):
    if isinstance(space, spaces.Dict):
        return {name: of_space(below, rng, rows) for name, below in space.spaces.items()}
    if isinstance(space, spaces.Tuple):
        return tuple(of_space(below, rng, rows) for below in space.spaces)
    if isinstance(space, spaces.Discrete):
        return rng.integers(space.start, space.start + space.n, rows)
    return rng.uniform(-1, 1, (rows, *space.shape)).astype(space.dtype)


def after_reset(k):
    return np.concatenate([[np.nan], log_probs(k)])


INFOS = {
    # what Minari is given; the formats that it can write it in
    "T": (lambda k: {"log_prob": log_probs(k)}, ["hdf5"]),
    "T, 1": (lambda k: {"log_prob": log_probs(k)[:, None]}, ["hdf5"]),
    "list of T": (lambda k: {"log_prob": list(log_probs(k))}, ["hdf5"]),
    "T + 1, nan first": (lambda k: {"log_prob": after_reset(k)}, FORMATS),
    "T + 1, nan last": (lambda k: {"log_prob": np.append(log_probs(k), np.nan)}, FORMATS),
    "T + 1, 1": (lambda k: {"log_prob": after_reset(k)[:, None]}, FORMATS),
    "list of T + 1": (lambda k: {"log_prob": list(after_reset(k))}, FORMATS),
    "list of T + 1 arrays of one": (lambda k: {"log_prob": list(after_reset(k)[:, None])}, FORMATS),
    "list of T + 1, none first": (lambda k: {"log_prob": [None, *log_probs(k)]}, ["arrow", "parquet"]),
    "float32": (lambda k: {"log_prob": after_reset(k).astype("f4")}, FORMATS),
    "nested": (lambda k: {"behaviour": {"log_prob": after_reset(k)}, "speed": after_reset(k)}, FORMATS),
    "nested, T": (lambda k: {"behaviour": {"log_prob": log_probs(k)}}, ["hdf5"]),
}


def store(table, path):
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    else:
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
