"""robomimic's layout, written as its own scripts lay it out, with a log-prob column added."""

import json

import h5py
import numpy as np
import pytest

from gipo_cli.data import catalog
from gipo_cli.data.options import ReadOptions
from gipo_cli.errors import DataError
from gipo_cli.logs import open_log

LENGTHS = {"demo_0": 4, "demo_1": 3, "demo_2": 5, "demo_10": 2}
ENV_ARGS = {"env_name": "Lift", "env_type": 1, "env_kwargs": {"entry_point": "os:system"}, "env_version": "1.4.1"}


@pytest.fixture
def write(tmp_path):
    """Write four demonstrations; demo_1 and demo_10 are done at their end. `change(file)` may spoil the file."""

    def write(change=lambda file: None, log_prob="action_log_probs", keys=("robot0_eef_pos", "object")):
        rng = np.random.default_rng(5)
        with h5py.File(tmp_path / "low_dim.hdf5", "w") as file:
            data = file.create_group("data")
            data.attrs["total"], data.attrs["env_args"] = sum(LENGTHS.values()), json.dumps(ENV_ARGS)
            for name in sorted(LENGTHS):  # as HDF5 lists them: demo_10 before demo_2
                steps = LENGTHS[name]
                demo = data.create_group(name)
                demo.attrs["num_samples"], demo.attrs["model_file"] = steps, "<mujoco/>"
                for key in keys:
                    rows = rng.standard_normal((steps + 1, 3 if key == "object" else 2))
                    demo[f"obs/{key}"], demo[f"next_obs/{key}"] = rows[:-1], rows[1:]
                demo["actions"] = rng.uniform(-1, 1, (steps, 2)) * 0.9
                demo["rewards"] = np.arange(steps) + 100.0 * int(name.removeprefix("demo_"))
                demo["dones"] = np.arange(steps) == (steps - 1 if name in ("demo_1", "demo_10") else -1)
                demo["states"] = rng.standard_normal((steps, 7))
                if log_prob:
                    demo[log_prob] = -1.0 - np.arange(steps)
            file["mask/train"] = np.array([b"demo_0", b"demo_2"])
            change(file)
        return str(tmp_path / "low_dim.hdf5")

    return write


def test_demonstrations_are_laid_end_to_end_in_the_order_of_their_numbers(write):
    path = write()
    log = catalog.load(path)
    assert log.episode_starts.tolist() == [0, 4, 7, 12, 14]
    assert log.rewards[log.episode_starts[:-1]].tolist() == [0, 100, 200, 1000]
    assert log.terminated.nonzero()[0].tolist() == [6, 13]
    assert log.truncated.nonzero()[0].tolist() == [3, 11]
    assert log.behaviour_log_probs[:5].tolist() == [-1, -2, -3, -4, -1]
    assert (log.environment, log.log_probs_origin) == ("Lift", "recorded")
    with h5py.File(path) as file:
        demos = [file["data"][name] for name in LENGTHS]
        for role, found in (("obs", log.observations), ("next_obs", log.next_observations())):
            laid = [np.hstack([demo[f"{role}/object"], demo[f"{role}/robot0_eef_pos"]]) for demo in demos]
            np.testing.assert_array_equal(found, np.concatenate(laid))
    assert "observations are object, robot0_eef_pos, laid side by side in this order." in log.notes


@pytest.mark.parametrize("name", ["log_prob", "action_log_prob", "infos/logp"])
def test_log_probs_go_by_any_usual_name(write, name):
    assert catalog.load(write(log_prob=name)).behaviour_log_probs[0] == -1


def test_log_probs_go_by_a_name_of_the_users(write):
    log = catalog.load(write(log_prob="mine"), ReadOptions(log_prob_key="mine", log_prob_convention="gaussian"))
    assert (log.behaviour_log_probs[1], log.convention) == (-2, "gaussian")


def test_a_stock_file_has_no_log_probs_and_is_told_so(write):
    with pytest.raises(DataError, match="no log-probabilities of the behaviour policy") as refused:
        open_log(write(log_prob=""))
    assert "no log-probs: its demonstrations hold nothing." in refused.value.hint


def test_a_demonstration_ends_at_its_first_done(write):
    """States after a success are often recorded too, each of them done."""

    def change(file):
        file["data/demo_2/dones"][2:] = 1

    log = catalog.load(write(change))
    assert log.episode_lengths.tolist() == [4, 3, 3, 2]
    assert log.terminated.nonzero()[0].tolist() == [6, 9, 11]
    assert "1 demonstrations go on after their first 'dones' of 1; what follows was left out." in log.notes


def test_without_next_observations_a_cut_demonstration_gives_up_its_last_step(write):
    def change(file):
        for demo in file["data"].values():
            del demo["next_obs"]

    assert catalog.load(write(change)).episode_lengths.tolist() == [3, 3, 4, 2]


def test_float_flags_and_columns_of_one_read_the_same(write):
    plain = catalog.load(write()).fingerprint

    def change(file):
        for demo in file["data"].values():
            for key in ("dones", "rewards", "action_log_probs"):
                column = demo[key][:].astype("f4")[:, None]
                del demo[key]
                demo[key] = column

    assert catalog.load(write(change)).fingerprint == plain


def test_a_file_larger_than_memory_is_mapped_and_the_same(write, tmp_path, monkeypatch):
    path = write()
    plain = catalog.load(path)
    monkeypatch.setenv("GIPO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GIPO_COLUMN_MEMORY", "16")
    mapped = catalog.load(path)
    assert isinstance(mapped.observations, np.memmap)
    assert mapped.fingerprint == plain.fingerprint


def test_images_are_refused_by_name(write):
    def change(file):
        file["data/demo_0/obs/agentview_image"] = np.zeros((4, 8, 8, 3), np.uint8)

    with pytest.raises(DataError, match=r"'obs/agentview_image' is an image, \[8, 8, 3\] a step") as refused:
        catalog.load(write(change))
    assert "--camera_names" in refused.value.hint


def test_more_keys_than_are_read_are_refused(write):
    with pytest.raises(DataError, match="'obs' has 300 keys; up to 256 are read"):
        catalog.load(write(keys=[f"sensor_{i}" for i in range(300)]))


def without(key):
    def change(file):
        del file[key]

    return change


def put(key, value):
    def change(file):
        if key in file:
            del file[key]
        file[key] = value

    return change


SPOILED = {
    "no rewards": (without("data/demo_2/rewards"), "data/demo_2 has no column 'rewards'"),
    "no actions": (without("data/demo_0/actions"), "data/demo_0 has no column 'actions'"),
    "no dones": (without("data/demo_1/dones"), "data/demo_1 has no column 'dones'"),
    "no observations": (without("data/demo_0/obs"), "data/demo_0 has no 'obs'"),
    "a log-prob column missing later": (without("data/demo_2/action_log_probs"), "data/demo_2 has no column 'action_"),
    "rows missing": (put("data/demo_1/actions", np.zeros((2, 2))), r"'actions' of demo_1 has shape \[2, 2\]"),
    "another width": (put("data/demo_1/obs/object", np.zeros((3, 4))), r"'obs/object' of demo_1 has shape \[3, 4\]"),
    "text for numbers": (put("data/demo_1/rewards", np.array([b"x"] * 3)), "'rewards' has type .*; expected numbers"),
    "nan flags": (put("data/demo_1/dones", np.full(3, np.nan)), "'dones' of demo_1 holds a number that is not finite"),
    "one number": (put("data/demo_1/rewards", 1.0), "'rewards' of data/demo_1 is one number"),
    "no group": (put("data/demo_1", np.zeros(3)), "'data/demo_1' is no group"),
    "a soft link": (put("data/demo_1/rewards", h5py.SoftLink("/data/demo_0/rewards")), "'rewards' is a SoftLink"),
    "an external link": (put("data/demo_1", h5py.ExternalLink("x.hdf5", "/")), "'demo_1' is a ExternalLink"),
}


@pytest.mark.parametrize(("change", "said"), SPOILED.values(), ids=SPOILED)
def test_what_is_wrong_is_named(write, change, said):
    with pytest.raises(DataError, match=said):
        catalog.load(write(change))


def test_storage_outside_the_file_and_absurd_sizes_are_refused(write, tmp_path):
    (tmp_path / "secret").write_bytes(b"\x00" * 24)

    def outside(file):
        del file["data/demo_1/rewards"]
        file["data/demo_1"].create_dataset("rewards", (3,), "f8", external=[(str(tmp_path / "secret"), 0, 24)])

    def huge(file):
        del file["data/demo_1/obs/object"]
        file["data/demo_1/obs"].create_dataset("object", (10**12, 3), "f8", chunks=(10**4, 3))

    with pytest.raises(DataError, match="'rewards' is stored outside the file"):
        catalog.load(write(outside))
    with pytest.raises(DataError, match="'obs/object' claims 24,000,000,000,000 bytes"):
        catalog.load(write(huge))


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "5", '{"env_name": 5}', "null"])
def test_damaged_arguments_of_the_environment_are_as_good_as_none(write, text):
    def change(file):
        file["data"].attrs["env_args"] = text[:60_000]

    assert catalog.load(write(change)).environment is None


def test_scattered_damage_is_refused_or_harmless(write, tmp_path):
    from pathlib import Path

    from gipo_cli.errors import GipoError

    whole, damaged = Path(write()).read_bytes(), tmp_path / "damaged.hdf5"
    refused = 0
    for seed in range(150):
        rng = np.random.default_rng(seed)
        content = np.frombuffer(whole, np.uint8).copy()
        content[rng.integers(0, len(content), 40)] = rng.integers(0, 256, 40)
        damaged.write_bytes(content.tobytes())
        try:
            catalog.load(str(damaged))
        except GipoError:
            refused += 1
    assert refused > 30
