"""Logs that are damaged or made to harm: each is refused in a sentence, and harms no episode that is whole."""

import os

import h5py
import numpy as np
import pytest

from gipo_cli.data import catalog
from gipo_cli.errors import DataError, GipoError
from gipo_cli.logs import open_log


def refusal(path):
    with pytest.raises(DataError) as refused:
        open_log(str(path))
    return refused.value.message.replace(str(path), "LOG")


@pytest.mark.parametrize("first", [0, 4])
def test_an_episode_of_one_cut_step_leaves_the_others_as_they_are(d4rl, first):
    timeouts = np.zeros(12, bool)
    timeouts[[first, 11]] = True
    log = catalog.load(str(d4rl(drop=("next_observations",), timeouts=timeouts)))
    assert not (log.terminated & log.truncated).any()
    assert log.terminated.sum() == 2
    assert log.truncated.sum() == 1


def test_the_first_episode_of_one_cut_step_does_not_mark_the_last_row(d4rl):
    timeouts, terminals = np.zeros(12, bool), np.zeros(12, bool)
    timeouts[0] = terminals[11] = True
    log = catalog.load(str(d4rl(drop=("next_observations",), timeouts=timeouts, terminals=terminals)))
    assert log.terminated.tolist() == [False] * 10 + [True]
    assert not log.truncated.any()


@pytest.mark.parametrize("key", ["rewards", "terminals", "timeouts", "infos/action_log_probs"])
def test_a_single_number_where_a_column_belongs_is_refused(d4rl, key):
    message = refusal(d4rl(**{key.replace("/", "__"): np.float32(0)}))
    assert message == f"LOG: '{key}' has shape []; expected one row a step."


@pytest.mark.parametrize("key", ["rewards", "terminals", "timeouts"])
def test_two_columns_where_one_belongs_are_refused(d4rl, key):
    message = refusal(d4rl(**{key: np.zeros((12, 2))}))
    assert message == f"LOG: '{key}' has shape [12, 2]; expected one row a step."


@pytest.mark.parametrize(
    ("key", "shape", "expected"),
    [
        ("next_observations", (12, 3), "[12, 2]"),
        ("infos/pre_squash_actions", (12, 5), "[12, 1]"),
        ("metadata/action_low", (7,), "[1]"),
    ],
)
def test_a_column_of_another_width_is_refused(d4rl, key, shape, expected):
    message = refusal(d4rl(**{key.replace("/", "__"): np.zeros(shape, np.float32)}))
    assert message == f"LOG: '{key}' has shape {list(shape)}; expected {expected}."


@pytest.mark.parametrize("shape", [(), (2, 2), (3, 5)])
def test_final_observations_that_do_not_fit_are_noted_and_not_used(d4rl, shape):
    log = catalog.load(str(d4rl(metadata__final_observations=np.zeros(shape, np.float32))))
    assert log.final_observations.shape == (3, 2)
    assert log.final_observations.any()
    assert any("metadata/final_observations has shape" in note for note in log.notes)


def test_flags_that_are_not_numbers_are_refused(d4rl):
    message = refusal(d4rl(terminals=np.full(12, np.nan)))
    assert message == "LOG: 'terminals' holds a number that is not finite; expected 0 or 1."


def test_a_column_without_a_shape_is_refused(d4rl):
    assert refusal(d4rl(rewards=h5py.Empty("f4"))) == "LOG: 'rewards' holds nothing; expected an array."


def test_more_choices_than_a_policy_can_have_are_refused(d4rl):
    path = d4rl(
        actions=np.zeros(12, np.int64),
        infos__action_log_probs=np.linspace(-1, -2, 12),
        attributes={"action_choices": 10**12},
    )
    assert "1,000,000,000,000 choices" in refusal(path)


@pytest.mark.parametrize("value", [np.nan, np.inf, h5py.Empty("f4"), np.arange(3)])
def test_an_attribute_that_is_no_finite_number_is_as_good_as_none(gipo, d4rl, value):
    path = d4rl(attributes={"action_choices": value, "odd": value})
    assert gipo("datasets", "info", path, "--json").exit_code == 0


def test_a_text_that_claims_gigabytes_is_not_read(d4rl):
    path = d4rl()
    with h5py.File(path, "a") as file:
        file.create_group("metadata/policy").create_dataset("nonlinearity", (), "S2000000000")
    import tracemalloc

    tracemalloc.start()
    try:
        catalog.load(str(path))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 10 * 2**20


def test_the_weights_of_a_policy_with_other_actions_are_refused(d4rl):
    path = d4rl()
    with h5py.File(path, "a") as file:
        group = file.create_group("metadata/policy")
        group["nonlinearity"], group["output_distribution"] = b"tanh", b"gaussian"
        for name, shape in {"fc0/weight": (4, 2), "fc0/bias": (4,), "last_fc/weight": (5, 4), "last_fc/bias": (5,),
                            "log_std": (5,)}.items():  # fmt: skip
            group[name] = np.zeros(shape, np.float32)
    assert refusal(path) == "log: its policy is gaussian with 5 actions, the log gaussian with 1."


@pytest.mark.parametrize("place", ["~nobody-of-this-name/log.hdf5", "a" * 5000, ""])
def test_a_place_that_cannot_be_is_refused(place):
    with pytest.raises(GipoError):
        catalog.load(place)


@pytest.mark.parametrize("name", ["log.csv", "log.npz", "log.parquet", "log.hdf5", "log"])
def test_a_pipe_is_refused_and_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / name)
    assert refusal(tmp_path / name) == "LOG is a pipe or a device; expected a file."


def test_scattered_damage_is_refused_or_harmless(d4rl, tmp_path):
    path = d4rl(metadata__policy__fc0__weight=np.zeros((4, 2), np.float32))
    whole, damaged = path.read_bytes(), tmp_path / "damaged.hdf5"
    refused = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        content = np.frombuffer(whole, np.uint8).copy()
        content[rng.integers(0, len(content), 4)] = rng.integers(0, 256, 4)
        damaged.write_bytes(content.tobytes())
        try:
            open_log(str(damaged))
        except GipoError:
            refused += 1
    assert refused > 100
