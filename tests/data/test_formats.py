"""Which reader takes a file: each format its own, in the order of the registry, and none another's."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gipo_cli.registry import READERS

FILES = Path(__file__).parent / "files"


def taken_by(place):
    return next((name for name in READERS.places if READERS.load(name).recognises(place)), None)


def columns():
    return {"observations": [[0.0]], "actions": [[0.0]], "rewards": [0.0], "log_probs": [0.0]}


def hdf5(place, d4rl):
    return d4rl("log.hdf5")


def rllib_json(place, _):
    return FILES / "rllib-json"


def rllib_json_file(place, _):
    return FILES / "rllib-json" / "output_worker-0_0.json"


def rllib_packed(place, _):
    return FILES / "rllib-packed"


def rllib_parquet(place, _):
    return FILES / "rllib-parquet"


def rllib_parquet_file(place, _):
    return shutil.copy(FILES / "rllib-parquet" / "part-0.parquet", place / "log.parquet")


def torchrl(place, _):
    return FILES / "torchrl"


def open_bandit(place, _):
    (place / "all.csv").write_text("timestamp,item_id,position,click,propensity_score\n0,1,1,0,0.5\n")
    (place / "item_context.csv").write_text("item_id\n0\n")
    return place


def parquet(place, _):
    pq.write_table(pa.table(columns()), place / "log.parquet")
    return place / "log.parquet"


def parquets(place, _):
    parquet(place, _)
    return place


def parquet_with_episodes(place, _):
    # `eps_id` alone does not make it RLlib's, whose observations are called obs.
    pq.write_table(pa.table(columns() | {"eps_id": [0]}), place / "log.parquet")
    return place / "log.parquet"


def npz(place, _):
    np.savez(place / "log.npz", **columns())
    return place / "log.npz"


def csv(place, _):
    (place / "log.csv").write_text("obs_0,action,reward\n0,0,0\n")
    return place / "log.csv"


def lerobot(place, _):
    for folder in ("meta", "data/chunk-000"):
        (place / folder).mkdir(parents=True)
    (place / "meta" / "info.json").write_text(json.dumps({"codebase_version": "v3.0", "total_episodes": 1}))
    pq.write_table(
        pa.table({"observation.state": [[0.0]], "action": [[0.0]]}), place / "data/chunk-000/file-000.parquet"
    )
    return place


def text(place, _):
    (place / "notes.txt").write_text("observations, actions and rewards")
    return place / "notes.txt"


def unrelated(place, _):
    (place / "config.json").write_text('{"type": "Config"}')
    return place


@pytest.mark.parametrize(
    ("make", "reader"),
    [
        (hdf5, {"d4rl"}), (rllib_json, {"rllib"}), (rllib_json_file, {"rllib"}), (rllib_packed, {"rllib"}),
        (rllib_parquet, {"rllib"}), (rllib_parquet_file, {"rllib"}), (torchrl, {"tensordict"}),
        (open_bandit, {"open-bandit"}), (parquet, {"table"}), (parquets, {"table"}),
        (parquet_with_episodes, {"table"}), (npz, {"table"}), (csv, {"table"}), (lerobot, {"lerobot", None}),
        (text, {None}), (unrelated, {None}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)  # fmt: skip
def test_each_file_goes_to_the_reader_of_its_format(tmp_path, d4rl, make, reader):
    assert taken_by(Path(make(tmp_path, d4rl))) in reader
