"""What every writer keeps: nothing overwritten or half-written, little memory; and that other tools read it."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import gymnasium
import h5py
import minari
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gipo_cli.data import catalog, writers
from gipo_cli.data.hdf5_writing import Hdf5Writer
from gipo_cli.data.saving import history_of
from gipo_cli.data.trajectories import ActionSpace, BehaviourWeights, Trajectories
from gipo_cli.data.writers import d4rl
from gipo_cli.errors import SettingError
from gipo_cli.policies.weights import load_policy, policy_from_arrays
from gipo_cli.registry import WRITERS

every_writer = pytest.mark.parametrize("name", WRITERS.places)
LENGTHS = (3, 1, 4)


@pytest.fixture
def log():
    """Three episodes of a Gaussian policy of Pendulum, with all that a log can have."""
    rng = np.random.default_rng(0)
    steps = sum(LENGTHS)
    starts = np.concatenate([[0], np.cumsum(LENGTHS)])
    ends = np.isin(np.arange(steps), starts[1:] - 1)
    f4 = {"dtype": np.float32}
    arrays = {"fc0/weight": rng.random((4, 3), **f4), "fc0/bias": rng.random(4, **f4),
              "last_fc/weight": rng.random((1, 4), **f4), "last_fc/bias": rng.random(1, **f4),
              "log_std": np.zeros(1, np.float32), "observation_mean": np.ones(3),
              "observation_variance": np.full(3, 4.0)}  # fmt: skip
    actions = rng.standard_normal((steps, 1), **f4) * 3
    return Trajectories(
        name="log", source="test", observations=rng.standard_normal((steps, 3), **f4), actions=actions,
        rewards=np.arange(steps, **f4), behaviour_log_probs=-1 - np.arange(steps, **f4),
        terminated=ends & (np.arange(steps) > 5), truncated=ends & (np.arange(steps) <= 5),
        final_observations=rng.standard_normal((3, 3), **f4),
        episode_starts=starts, action_space=ActionSpace((1,), -np.full(1, 2, np.float32), np.full(1, 2, np.float32)),
        convention="gaussian", environment="Pendulum-v1", executed_actions=np.clip(actions, -2, 2),
        policy_versions=np.arange(steps) // 3,
        behaviour_weights=BehaviourWeights(arrays, "tanh", "gaussian", 5.0, 1e-6, (-5.0, 2.0)),
    )  # fmt: skip


@every_writer
@pytest.mark.parametrize("taken", ["file", "directory", "link"])
def test_what_is_there_is_never_overwritten(log, tmp_path, name, taken):
    path = tmp_path / "there"
    {"file": lambda: path.write_text("mine"), "directory": path.mkdir, "link": lambda: path.symlink_to("nowhere")}[
        taken
    ]()
    with pytest.raises(SettingError) as refused:
        WRITERS.load(name)(log, path, None)
    assert refused.value.message == f"{path} exists; a log is never overwritten."
    assert list(tmp_path.iterdir()) == [path]


@every_writer
def test_what_appears_while_a_log_is_written_is_left_alone(log, tmp_path, name, monkeypatch):
    path, sync = tmp_path / "there", writers._sync

    def appear(aside):
        sync(aside)
        path.mkdir()
        (path / "mine").write_text("mine")

    monkeypatch.setattr(writers, "_sync", appear)
    with pytest.raises(SettingError, match=r"exists; a log is never overwritten|cannot be written"):
        WRITERS.load(name)(log, path, None)
    assert (path / "mine").read_text() == "mine"
    assert list(tmp_path.iterdir()) == [path]


@every_writer
def test_a_missing_directory_is_named(log, tmp_path, name):
    with pytest.raises(SettingError, match=f"there is no directory {tmp_path}/none to write log in"):
        WRITERS.load(name)(log, tmp_path / "none/log", None)


@every_writer
def test_a_directory_that_vanishes_is_an_error_and_no_traceback(log, tmp_path, name, monkeypatch):
    place = tmp_path / "place"
    place.mkdir()
    monkeypatch.setattr(writers, "_publish", lambda aside, path: (shutil.rmtree(place), os.rename(aside, path)))
    with pytest.raises(SettingError, match=r"cannot be written \(No such file or directory\)"):
        WRITERS.load(name)(log, place / "log", None)
    assert list(tmp_path.iterdir()) == []


@every_writer
def test_a_directory_that_may_not_be_written_is_refused(log, name):
    write, place, root = WRITERS.load(name), Path(tempfile.mkdtemp()), os.geteuid() == 0
    place.chmod(0o555)
    if root:  # whom no mode stops
        os.seteuid(65534)
    try:
        with pytest.raises(SettingError, match=r"cannot be written \(.*[Pp]ermission denied"):
            write(log, place / "log", None)
        assert list(place.iterdir()) == []
    finally:
        if root:
            os.seteuid(0)
        place.rmdir()


def test_a_place_that_cannot_be_written_is_refused_before_any_work(tmp_path):
    (tmp_path / "file").touch()
    long = tmp_path / ("x" * 256)
    for path in (long, long / "log", tmp_path / "file/log", Path("/proc/log")):
        with pytest.raises(SettingError, match=r"cannot be written \(|there is no directory"):
            writers.refuse_existing(path)
    writers.refuse_existing(tmp_path / "log")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@every_writer
def test_the_longest_name_there_is_can_be_written(log, tmp_path, name):
    path = tmp_path / ("😀" * 63)  # 252 bytes
    WRITERS.load(name)(log, path, None)
    assert list(tmp_path.iterdir()) == [path]


@every_writer
def test_a_relative_place_is_taken(log, tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    WRITERS.load(name)(log, Path("log"), None)
    assert (tmp_path / "log").exists()


@every_writer
def test_without_hard_links_a_log_is_renamed_into_place(log, tmp_path, name, monkeypatch):
    def link(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    WRITERS.load(name)(log, tmp_path / "log", None)
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


CHILD = """
import os, resource, sys, threading
from dataclasses import replace
from pathlib import Path
import numpy as np
from gipo_cli.data.trajectories import ActionSpace, Trajectories
from gipo_cli.errors import SettingError
from gipo_cli.registry import WRITERS

def log_of(observations, length):
    n = len(observations)
    ends = np.arange(1, n + 1) % length == 0
    return Trajectories(
        name="log", source="test", observations=observations, actions=np.zeros((n, 1), np.float32),
        rewards=np.random.default_rng(0).random(n), behaviour_log_probs=np.zeros(n, np.float32), terminated=ends,
        truncated=~ends & False, final_observations=np.zeros((n // length, observations.shape[1]), np.float32),
        episode_starts=np.arange(0, n + 1, length), action_space=ActionSpace((1,)), convention="gaussian",
    )

place = Path(sys.argv[1])
for name in WRITERS.places:
    WRITERS.load(name)
"""


def run_child(code, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", CHILD + code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("limit", [1, 1_000, 100_000, 1_000_000])
def test_a_disk_that_fills_up_leaves_nothing_behind(tmp_path, limit):
    # The HDF5 library itself crashes when it closes a file after a write that failed.
    said = run_child(
        """
from gipo_cli.data.writers import d4rl
limit = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
log = log_of(np.random.default_rng(0).random((20_000, 8)), 100)
for name, in_memory in (*((name, d4rl.IN_MEMORY) for name in WRITERS.places), ("d4rl", 0)):
    d4rl.IN_MEMORY = in_memory
    try:
        WRITERS.load(name)(log, place / name, None)
    except SettingError as error:
        print(error.message)
print(os.listdir(place))
""",
        tmp_path,
        limit,
    )
    *messages, left = said.splitlines()
    assert left == "[]"
    for name, message in zip([*WRITERS.places, "d4rl"], messages, strict=True):
        assert message.startswith(f"{tmp_path}/{name} cannot be written (")
        assert "File too large" in message


def test_a_file_made_piece_by_piece_holds_what_one_made_in_memory_holds(log, tmp_path, monkeypatch):
    write = WRITERS.load("d4rl")
    write(log, tmp_path / "memory.hdf5", None)
    monkeypatch.setattr(d4rl, "IN_MEMORY", 0)
    write(log, tmp_path / "pieces.hdf5", None)
    assert catalog.load(str(tmp_path / "pieces.hdf5")).fingerprint == log.fingerprint
    assert catalog.load(str(tmp_path / "memory.hdf5")).fingerprint == log.fingerprint


def test_a_file_made_in_memory_has_the_bytes_of_a_plain_one(tmp_path, monkeypatch):
    # datasets/README.md gives the sha256 of files that were written plainly, and how to record them again.
    log, write = catalog.load("hopper-medium"), WRITERS.load("d4rl")
    write(log, tmp_path / "memory.hdf5", {"seed": 1})

    @contextmanager
    def plain(path, in_memory):
        with h5py.File(path, "w", track_order=True) as file:
            yield Hdf5Writer(file, None)

    monkeypatch.setattr(d4rl, "new_hdf5", plain)
    write(log, tmp_path / "plain.hdf5", {"seed": 1})
    assert (tmp_path / "memory.hdf5").read_bytes() == (tmp_path / "plain.hdf5").read_bytes()


def test_a_mapped_column_is_written_in_little_memory(tmp_path):
    said = run_child(
        """
from gipo_cli.data.writers import d4rl
d4rl.IN_MEMORY, rows, width = 0, 2**20, 16
np.lib.format.open_memmap(place / "column.npy", "w+", np.float32, (rows, width)).flush()
log = log_of(np.load(place / "column.npy", mmap_mode="r"), 1024)

def anonymous():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1024

for name in WRITERS.places:
    before, peak, done = anonymous(), [0], threading.Event()
    def watch():
        while not done.wait(0.002):
            peak[0] = max(peak[0], anonymous())
    watcher = threading.Thread(target=watch)
    watcher.start()
    WRITERS.load(name)(log, place / name, None)
    done.set()
    watcher.join()
    print(name, (peak[0] - before) / log.observations.nbytes)
""",
        tmp_path,
    )
    for line in said.splitlines():
        assert float(line.split()[1]) < 0.5, said


@every_writer
def test_the_same_log_gives_the_same_bytes(log, tmp_path, name):
    if name == "minari":
        pytest.skip("Minari's storage stamps what it writes with the time")
    for place in ("a", "b"):
        WRITERS.load(name)(log, tmp_path / place, {"seed": 1})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@every_writer
def test_a_log_without_log_probs_is_written_without_the_column(log, tmp_path, name):
    bare = replace(log, log_probs_origin="none", behaviour_log_probs=np.full(log.transitions, np.nan, np.float32))
    path = tmp_path / "log"
    WRITERS.load(name)(bare, path, None)
    files = [file for file in path.rglob("*") if file.is_file()] if path.is_dir() else [path]
    content = b"".join(file.read_bytes() for file in files)
    assert b"behaviour_log_probs" not in content and b"action_log_probs" not in content


pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:minari")


@pytest.mark.parametrize("length", [5000, 100_000])
def test_what_a_file_says_of_its_making_stays_however_long(log, tmp_path, length):
    d4rl.write(log, tmp_path / "log.hdf5", {"command": "x" * length})
    assert history_of([str(tmp_path / "log.hdf5")])["command"] == "x" * length


def test_minari_itself_loads_and_iterates_what_is_written(log, tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    (tmp_path / "lab").mkdir()
    WRITERS.load("minari")(log, tmp_path / "lab/own-v3", {"algorithm": "SAC"})
    dataset = minari.load_dataset("lab/own-v3")
    assert (dataset.total_episodes, dataset.total_steps) == (3, 8)
    assert (dataset.spec.dataset_id, dataset.spec.env_spec.id) == ("lab/own-v3", "Pendulum-v1")
    assert dataset.action_space == gymnasium.spaces.Box(-2, 2, (1,), np.float32)
    assert list(minari.list_local_datasets()) == ["lab/own-v3"]
    for k, episode in enumerate(dataset.iterate_episodes()):
        rows = slice(log.episode_starts[k], log.episode_starts[k + 1])
        np.testing.assert_array_equal(episode.observations[:-1], log.observations[rows])
        np.testing.assert_array_equal(episode.observations[-1], log.final_observations[k])
        np.testing.assert_array_equal(episode.infos["log_prob"], log.behaviour_log_probs[rows])
        np.testing.assert_array_equal(episode.infos["executed_actions"], log.executed_actions[rows])
        np.testing.assert_array_equal(episode.infos["policy_versions"], log.policy_versions[rows])
        assert (episode.terminations | episode.truncations).tolist() == [False] * (LENGTHS[k] - 1) + [True]


def test_an_environment_that_gymnasium_lacks_has_no_specification(log, tmp_path):
    WRITERS.load("minari")(replace(log, environment="os:system-v0"), tmp_path / "own", None)
    metadata = json.loads((tmp_path / "own/data/metadata.json").read_text())
    assert "env_spec" not in metadata
    assert (metadata["gipo_environment"], metadata["gipo_convention"]) == ("os:system-v0", "gaussian")
    assert (metadata["gipo_log_probs_origin"], metadata["dataset_id"]) == ("recorded", "own-v0")


def test_images_are_not_changed(log, tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    images = np.random.default_rng(0).integers(0, 256, (11, 32, 32, 3), np.uint8)
    WRITERS.load("minari")(
        replace(log, observations=images[:8], final_observations=images[8:]), tmp_path / "own-v0", None
    )
    episode = next(iter(minari.load_dataset("own-v0").iterate_episodes()))
    np.testing.assert_array_equal(episode.observations, images[[0, 1, 2, 8]])


def test_the_policy_beside_a_minari_dataset_is_one_that_gipo_loads(log, tmp_path):
    WRITERS.load("minari")(log, tmp_path / "own", None)
    found, _ = load_policy(tmp_path / "own/data/behaviour_policy.safetensors")
    weights = log.behaviour_weights
    expected = policy_from_arrays(
        weights.arrays, nonlinearity="tanh", distribution="gaussian", observation_clip=5.0, observation_epsilon=1e-6,
        log_std_bounds=(-5.0, 2.0),
    )  # fmt: skip
    assert found.spec == expected.spec
    assert all((found.state_dict()[name] == value).all() for name, value in expected.state_dict().items())


def test_numpy_loads_an_npz_without_pickle(log, tmp_path):
    WRITERS.load("npz")(log, tmp_path / "log.npz", {"seed": 7})
    with np.load(tmp_path / "log.npz", allow_pickle=False) as found:
        np.testing.assert_array_equal(found["observations"], log.observations)
        np.testing.assert_array_equal(found["weights/fc0/bias"], log.behaviour_weights.arrays["fc0/bias"])
        said = json.loads(found["gipo"].tobytes())
    assert said["action_choices"] is None and said["action_shape"] == [1]
    assert said["origin"] == {"seed": 7}
    assert said["weights"] == {
        "nonlinearity": "tanh", "output_distribution": "gaussian", "observation_clip": 5.0,
        "observation_epsilon": 1e-6, "log_std_bounds": [-5.0, 2.0],
    }  # fmt: skip


def test_parquet_has_a_row_a_step_and_lists_of_one_length(log, tmp_path):
    WRITERS.load("parquet")(log, tmp_path / "log.parquet", None)
    table = pq.read_table(tmp_path / "log.parquet")
    assert table.num_rows == 8
    assert table.schema.field("observations").type == pa.list_(pa.field("item", pa.float32(), nullable=False), 3)
    assert table["episode"].to_pylist() == [0, 0, 0, 1, 2, 2, 2, 2]
    assert table["observations"].to_pylist() == log.observations.tolist()
    assert json.loads(table.schema.metadata[b"gipo"])["observation_shape"] == [3]
