"""TorchRL's memory-mapped tensordicts. files/torchrl was written by tensordict itself (files/make_torchrl.py)."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from gipo_cli.data import catalog
from gipo_cli.data.options import ReadOptions
from gipo_cli.data.readers.tensordict import TENSORDICT
from gipo_cli.errors import DataError

MADE = Path(__file__).parent / "files" / "torchrl"
CLASS = {"_type": "<class 'tensordict._td.TensorDict'>", "device": "cpu"}


def write(place, leaves, batch, **more):
    """A directory as tensordict lays it out; names with a slash go below."""
    place.mkdir(exist_ok=True)
    meta, below = {"shape": list(batch), **CLASS, **more}, {}
    for name, array in leaves.items():
        head, _, tail = name.partition("/")
        if tail:
            below.setdefault(head, {})[tail] = array
        else:
            meta[name] = {
                "device": "cpu",
                "shape": list(array.shape),
                "dtype": f"torch.{array.dtype}",
                "is_nested": False,
            }
            array.tofile(place / f"{name}.memmap")
    for head, found in below.items():
        meta[head] = {"type": "TensorDict"}
        write(place / head, found, batch)
    (place / "meta.json").write_text(json.dumps(meta))
    return place


def leaves(n=6, drop=(), **replaced):
    rng = np.random.default_rng(0)
    observations = rng.standard_normal((n + 1, 2)).astype(np.float32)
    done = (np.arange(n) == n - 1)[:, None]
    found = {
        "observation": observations[:-1], "action": np.eye(3, dtype=np.int64)[rng.integers(0, 3, n)],
        "action_log_prob": -rng.uniform(0.1, 1, n).astype(np.float32), "next/observation": observations[1:],
        "next/reward": np.arange(n, dtype=np.float32)[:, None], "next/done": done, "next/terminated": done,
    } | {name.replace("__", "/"): array for name, array in replaced.items()}  # fmt: skip
    return {name: array for name, array in found.items() if name not in drop}


def test_what_tensordict_wrote_of_two_environments():
    log = catalog.load(str(MADE))

    def raw(name, dtype=np.float32):
        return np.fromfile(MADE / f"{name}.memmap", dtype)

    assert log.episode_starts.tolist() == [0, 2, 4, 8]
    assert log.terminated.nonzero()[0].tolist() == [1]
    assert log.truncated.nonzero()[0].tolist() == [3, 7]  # the first environment was still running
    np.testing.assert_array_equal(log.observations.reshape(-1), raw("observation"))
    np.testing.assert_array_equal(log.actions.reshape(-1), raw("action"))
    np.testing.assert_array_equal(log.behaviour_log_probs, raw("sample_log_prob"))
    np.testing.assert_array_equal(log.rewards, np.arange(8))
    np.testing.assert_array_equal(log.final_observations, raw("next/observation").reshape(8, 3)[[1, 3, 7]])
    assert log.notes[0] == "not read, since only numbers are: agent."
    assert isinstance(log.observations, np.memmap)
    assert not log.observations.flags.writeable


def test_one_hot_actions_become_choices(tmp_path):
    found = leaves()
    log = catalog.load(str(write(tmp_path / "log", found, [6])))
    assert log.actions.tolist() == found["action"].argmax(1).tolist()
    assert (log.convention, log.action_space.n, log.episodes) == ("categorical", 3, 1)
    assert log.notes == ("actions are one-hot; each became the number of its choice.",)
    spoiled = found["action"].copy()
    choices = catalog.load(str(write(tmp_path / "numbers", leaves(action=np.arange(18).reshape(6, 3) % 4), [6])))
    assert (choices.convention, choices.action_space.nvec) == ("multi_categorical", (4, 4, 4))
    spoiled[2] = 1
    with pytest.raises(DataError, match="the actions are whole numbers of 3 columns, and not one-hot"):
        catalog.load(str(write(tmp_path / "log", leaves(action=spoiled), [6])))


def test_done_without_terminated_is_cut(tmp_path):
    done = np.array([False, True, False, False, False, True])[:, None]
    terminated = np.arange(6)[:, None] == 1
    log = catalog.load(str(write(tmp_path / "log", leaves(next__done=done, next__terminated=terminated), [6])))
    assert log.terminated.nonzero()[0].tolist() == [1]
    assert log.truncated.nonzero()[0].tolist() == [5]
    log = catalog.load(str(write(tmp_path / "old", leaves(next__done=done, drop=("next/terminated",)), [6])))
    assert log.terminated.nonzero()[0].tolist() == [1, 5]
    assert "'next/done' does not tell a true end from a time limit; all count as true ends." in log.notes


def test_a_replay_buffer_gives_the_rows_it_holds(tmp_path):
    place = write(tmp_path / "log", leaves(), [6])
    (place / "storage_metadata.json").write_text('{"metadata": {}, "is_pytree": false, "len": 4}')
    assert catalog.load(str(place)).transitions == 4
    for held in ("0", "7", '"4"', "true", "1" * 5000):
        (place / "storage_metadata.json").write_text('{"len": ' + held + "}")
        with pytest.raises(DataError, match=r"storage_metadata\.json"):
            catalog.load(str(place))


def test_a_buffer_whose_first_axis_is_time_is_the_same_log(tmp_path):
    plain = {str(file.relative_to(MADE))[:-7]: file for file in MADE.rglob("*.memmap")}
    found = {}
    for name, file in plain.items():
        about = json.loads((file.parent / "meta.json").read_text())[file.stem]
        column = np.fromfile(file, about["dtype"].removeprefix("torch.")).reshape(about["shape"]).swapaxes(0, 1)
        found[name] = np.concatenate([column, np.zeros_like(column)])  # storage that was never written
    expected = catalog.load(str(MADE))
    for name, rows in (("half full", 8), ("full", 4)):
        place = write(tmp_path / name, {leaf: column[:rows] for leaf, column in found.items()}, [rows, 2])
        (place / "storage_metadata.json").write_text('{"len": 8}')  # steps, in a storage of two axes
        log = catalog.load(str(place))
        assert log.fingerprint == expected.fingerprint
        assert "its first axis is time; each environment's steps were put together." in log.notes


def test_a_buffer_of_whole_trajectories_counts_its_rows(tmp_path):
    shutil.copytree(MADE, tmp_path / "log")
    (tmp_path / "log" / "storage_metadata.json").write_text(
        '{"len": 2}'
    )  # rows of four steps, of a storage of one axis
    assert catalog.load(str(tmp_path / "log")).fingerprint == catalog.load(str(MADE)).fingerprint


def test_a_log_without_log_probs_says_what_there_is(tmp_path):
    log = catalog.load(str(write(tmp_path / "log", leaves(drop=("action_log_prob",)), [6])))
    assert log.log_probs_origin == "none"
    assert log.notes[0].startswith("no log-probs: its leaves hold action, next/done, next/observation")


def test_another_leaf_may_hold_the_log_probs(tmp_path):
    place = write(tmp_path / "log", leaves(mine=np.full(6, -2.0)), [6])
    assert catalog.load(str(place), ReadOptions(log_prob_key="mine")).behaviour_log_probs.tolist() == [-2.0] * 6


@pytest.mark.parametrize(
    ("leaf", "changed", "expected"),
    [
        ("observation", {"shape": [10**12, 2]}, "has 48 bytes, and its shape .* needs 8,000,000,000,000"),
        ("observation", {"shape": [2**62, 2**62]}, "observation.memmap has 48 bytes, and its shape"),
        ("observation", {"shape": [-6, 2]}, "'observation' has no shape that an array can have"),
        ("observation", {"shape": [6.0, 2]}, "'observation' has no shape that an array can have"),
        ("observation", {"shape": "big"}, "'observation' has no shape that an array can have"),
        ("observation", {"shape": [12]}, r"'observation' has shape \[12\]; expected \[6\] first"),
        ("observation", {"shape": [0]}, "needs 0"),
        ("observation", {"dtype": "torch.bfloat16"}, "'observation' is of torch.bfloat16; expected one of torch.bool"),
        ("observation", {"dtype": "os.system"}, "'observation' is of os.system; expected one of"),
        ("observation", {"is_nested": True}, "has no leaf 'observation'"),
        ("action_log_prob", {"dtype": "torch.float64"}, "has 24 bytes, and its shape .* needs 48"),
    ],
)  # fmt: skip
def test_a_leaf_that_is_not_what_its_meta_says_is_refused(tmp_path, leaf, changed, expected):
    place = write(tmp_path / "log", leaves(), [6])
    meta = json.loads((place / "meta.json").read_text())
    meta[leaf] |= changed
    (place / "meta.json").write_text(json.dumps(meta))
    with pytest.raises(DataError, match=expected):
        catalog.load(str(place))


@pytest.mark.parametrize(
    ("meta", "expected"),
    [
        (b'{"tensordict": ' + b"[" * 100_000, "meta.json is nested too deeply"),
        (b"[tensordict", "meta.json is not JSON that can be read"),
        (b'["tensordict"]', "meta.json is not an object of leaves"),
        (b'{"_type": "tensordict", "shape": []}', "the tensordict has no batch axis"),
        (b'{"_type": "tensordict"}', "'shape' has no shape that an array can have"),
        (b'{"_type": "tensordict", "shape": [6], "shape": [7]}', "the key 'shape' stands there twice"),
        (b'{"_type": "tensordict", "shape": [' + b"9" * 5000 + b"]}", "meta.json is not JSON that can be read"),
        (b'{"_type": "tensordict", "shape": [6], "x": {"type": "TensorDict"}}', "x/meta.json is missing"),
        (b'{"_type": "tensordict", "shape": [6], "../x": {"type": "TensorDict"}}', "has no leaf 'observation'"),
    ],
)
def test_hostile_descriptions_are_refused(tmp_path, meta, expected):
    (tmp_path / "meta.json").write_bytes(meta)
    with pytest.raises(DataError, match=expected):
        catalog.load(str(tmp_path))


def test_links_out_of_the_directory_and_pickles_are_left_alone(tmp_path):
    place = tmp_path / "log"
    shutil.copytree(MADE, place)
    (place / "other.pickle").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    assert catalog.load(str(place)).transitions == 8
    shutil.copy(place / "observation.memmap", tmp_path / "outside")
    (place / "observation.memmap").unlink()
    (place / "observation.memmap").symlink_to(tmp_path / "outside")
    with pytest.raises(DataError, match=r"observation.memmap is a link that leaves .*log; nothing outside"):
        catalog.load(str(place))
    shutil.rmtree(place / "next")
    (place / "next").symlink_to(MADE / "next")
    with pytest.raises(DataError, match=r"next/meta.json is a link that leaves .*log; nothing outside"):
        catalog.load(str(place))


def test_a_pipe_in_place_of_a_leaf_does_not_wait(tmp_path):
    place = write(tmp_path / "log", leaves(), [6])
    (place / "observation.memmap").unlink()
    os.mkfifo(place / "observation.memmap")
    with pytest.raises(DataError, match=r"observation\.memmap is not a file"):
        catalog.load(str(place))


def test_missing_leaves_are_named(tmp_path):
    with pytest.raises(DataError, match="has no leaf 'next/reward'") as caught:
        catalog.load(str(write(tmp_path / "log", leaves(drop=("next/reward",)), [6])))
    assert caught.value.hint == (
        "It holds: action, action_log_prob, next/done, next/observation, next/terminated, observation."
    )


@pytest.mark.parametrize("content", [b"", b"{", b"\x00" * 5000, b'{"total_episodes": 3}'])
def test_recognising_never_raises(tmp_path, content):
    (tmp_path / "meta.json").write_bytes(content)
    for place in (tmp_path, tmp_path / "meta.json", tmp_path / "missing"):
        assert TENSORDICT.recognises(place) is False
