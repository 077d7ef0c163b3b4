"""Small tables in every format, as gipo writes them and as anybody does."""

import json
import struct
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors.numpy import save

from gipo_cli.data.trajectories import ActionSpace, BehaviourWeights, Trajectories

N = 8


def full_log(observation_shape=(3,)):
    """A log with everything a log can have."""
    rng = np.random.default_rng(0)
    starts = np.array([0, 3, 4, N])
    terminated, truncated = np.zeros(N, bool), np.zeros(N, bool)
    terminated[[2, 3]] = truncated[N - 1] = True
    arrays = {
        "fc0/weight": rng.standard_normal((4, 3)), "fc0/bias": rng.standard_normal(4),
        "last_fc/weight": rng.standard_normal((2, 4)), "last_fc/bias": rng.standard_normal(2), "log_std": np.zeros(2),
    }  # fmt: skip
    u = rng.standard_normal((N, 2)).astype(np.float32)
    return Trajectories(
        name="full", source="nowhere", observations=rng.standard_normal((N, *observation_shape)), actions=np.tanh(u),
        rewards=rng.standard_normal(N).astype(np.float32), behaviour_log_probs=rng.standard_normal(N),
        terminated=terminated, truncated=truncated, final_observations=rng.standard_normal((3, *observation_shape)),
        episode_starts=starts, action_space=ActionSpace((2,), -np.ones(2), np.ones(2)), convention="tanh_gaussian",
        environment="Hopper-v5", pre_squash_actions=u, executed_actions=np.clip(np.tanh(u), -0.5, 0.5),
        policy_versions=np.arange(N) // 3, log_probs_origin="recomputed",
        behaviour_weights=BehaviourWeights(
            {name: array.astype(np.float32) for name, array in arrays.items()}, "tanh", "tanh_gaussian", 5.0, 1e-6,
            (-5.0, 2.0),
        ),
    )  # fmt: skip


def described(log, **changed):
    weights = log.behaviour_weights
    text = {
        "format": 1, "convention": log.convention, "log_probs_origin": log.log_probs_origin, "name": log.name,
        "environment": log.environment, "action_choices": log.action_space.n,
        "action_shape": list(log.action_space.shape), "observation_shape": list(log.observations.shape[1:]),
        "repairs": ["shift"],
        "weights": weights and {
            "nonlinearity": weights.nonlinearity, "output_distribution": weights.output_distribution,
            "observation_clip": weights.observation_clip, "observation_epsilon": weights.observation_epsilon,
            "log_std_bounds": weights.log_std_bounds,
        },
    }  # fmt: skip
    return json.dumps(text | changed).encode()


ROWS = (
    "observations", "actions", "rewards", "behaviour_log_probs", "terminated", "truncated", "pre_squash_actions",
    "executed_actions", "policy_versions",
)  # fmt: skip


def apart(log):
    found = {"final_observations": log.final_observations}
    if log.action_space.low is not None:
        found |= {"action_low": log.action_space.low, "action_high": log.action_space.high}
    if log.behaviour_weights is not None:
        found |= {f"weights/{name}": array for name, array in log.behaviour_weights.arrays.items()}
    return found


def write_npz(log, path, compressed=True, **changed):
    columns = {name: getattr(log, name) for name in ROWS if getattr(log, name) is not None}
    columns |= {"episode_starts": log.episode_starts, **apart(log)}
    columns["gipo"] = np.frombuffer(described(log, **changed), np.uint8)
    (np.savez_compressed if compressed else np.savez)(path, **columns)
    return path


def write_parquet(log, path, **changed):
    columns = {}
    for name in ROWS:
        if (column := getattr(log, name)) is not None:
            flat = pa.array(np.ascontiguousarray(column).reshape(-1))
            columns[name] = flat if column.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, column[0].size)
    columns["episode"] = pa.array(log.episode_of_step.astype(np.int64))
    arrays = {name: np.ascontiguousarray(array) for name, array in apart(log).items()}
    metadata = {"gipo": described(log, **changed), "gipo_arrays": save(arrays)}
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), path, row_group_size=3)
    return path


WRITERS = {"npz": write_npz, "parquet": write_parquet}


def plain_columns():
    rng = np.random.default_rng(1)
    return {
        "observations": rng.standard_normal((N, 2)), "actions": np.arange(N) % 3, "rewards": rng.standard_normal(N),
        "log_probs": -rng.uniform(0.1, 2, N), "terminated": np.arange(N) == 3, "truncated": np.arange(N) == N - 1,
    }  # fmt: skip


def arrow_table(columns):
    return pa.table({name: list(column) if column.ndim > 1 else column for name, column in columns.items()})


def csv_table(columns):
    flat = {}
    for name, column in columns.items():
        flat |= {name: column} if column.ndim == 1 else {f"{name}_{i}": c for i, c in enumerate(column.T)}
    return pa.table(flat)


def npy(array, shape=None, descr=None):
    """The bytes of an .npy, with a header that may lie."""
    header = {"descr": descr or array.dtype.str, "fortran_order": False, "shape": shape or array.shape}
    text = (repr(header).ljust(117) + "\n").encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + array.tobytes()


def npz_of(path, **changed):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, column in (plain_columns() | changed).items():
            file.writestr(f"{name}.npy", column if isinstance(column, bytes) else npy(np.ascontiguousarray(column)))
    return path
