"""Small logs written by hand: in D4RL's layout, by Minari, and as tables with a mapping."""

from dataclasses import replace

import h5py
import minari
import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from minari.data_collector.episode_buffer import EpisodeBuffer

from gipo_cli.data import catalog
from gipo_cli.data.options import ReadOptions
from tests.data.minari_sets import ACTS, BOX, LENGTHS, of_space


@pytest.fixture
def d4rl(tmp_path):
    """Write a log of 3 episodes of 4 steps (the last one cut) and hand out its path; columns can be replaced."""

    def write(name="log.hdf5", drop=(), attributes=None, **replaced):
        rng = np.random.default_rng(0)
        n = 12
        observations = rng.standard_normal((n, 2)).astype(np.float32)
        terminals, timeouts = np.zeros(n, bool), np.zeros(n, bool)
        terminals[[3, 7]] = True
        timeouts[11] = True
        following = np.roll(observations, -1, 0)
        following[[3, 7, 11]] = rng.standard_normal((3, 2))
        columns = {
            "observations": observations, "next_observations": following, "rewards": rng.standard_normal(n),
            "actions": rng.uniform(-0.9, 0.9, (n, 1)).astype(np.float32), "terminals": terminals,
            "timeouts": timeouts, "infos/action_log_probs": rng.standard_normal(n).astype(np.float32),
        } | {key.replace("__", "/"): value for key, value in replaced.items()}  # fmt: skip
        path = tmp_path / name
        with h5py.File(path, "w") as file:
            for key, column in columns.items():
                if key not in drop:
                    file[key] = column
            for key, value in (attributes or {}).items():
                file.attrs[key] = value
        return path

    return write


@pytest.fixture
def mapped(tmp_path):
    """Write a table and a mapping of it, and read both."""

    def read(mapping, columns=None, options=None, name="log.csv"):
        path, file = tmp_path / name, tmp_path / "mapping.toml"
        file.write_text(mapping)
        if name.endswith(".csv"):
            pacsv.write_csv(pa.table(columns), path)
        elif name.endswith(".npz"):
            np.savez(path, **columns)
        else:
            pq.write_table(pa.table(columns), path)
        return catalog.load(str(path), replace(options or ReadOptions(), mapping=str(file)))

    return read


@pytest.fixture
def minari_set(tmp_path, monkeypatch):
    """Write twelve episodes through Minari; `infos(k)` is what episode k has, or none."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))

    def write(stored_as, infos=lambda k: None, observed=BOX, acted=ACTS, name="lab/log-v0", **more):
        rng = np.random.default_rng(3)
        buffers = []
        for k, steps in enumerate(LENGTHS):
            ends = np.arange(steps) == steps - 1
            buffers.append(
                EpisodeBuffer(
                    id=k, observations=of_space(observed, rng, steps + 1), actions=of_space(acted, rng, steps),
                    rewards=np.arange(steps) + 10.0 * k, terminations=ends & (k % 2 == 0),
                    truncations=ends & (k % 2 == 1), infos=infos(k),
                )
            )  # fmt: skip
        minari.create_dataset_from_buffers(
            name, buffers, observation_space=observed, action_space=acted, data_format=stored_as, algorithm_name="x",
            author="x", author_email="x@x", code_permalink="x", description="x", **more,
        )  # fmt: skip
        return tmp_path / name, buffers

    return write
