"""Minari's three storage formats, written by Minari itself: the same log whichever it is stored as."""

import json

import gymnasium
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from gymnasium import spaces
from safetensors.numpy import save_file

from gipo_cli.data import catalog
from gipo_cli.data.options import ReadOptions
from gipo_cli.errors import DataError
from tests.data.minari_sets import ALL, BOX, COLUMNAR, FORMATS, INFOS, LENGTHS, STARTS, after_reset, store

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:minari")


@pytest.mark.parametrize(
    ("infos", "stored_as"),
    [pytest.param(infos, s, id=f"{s}: {name}") for name, (infos, formats) in INFOS.items() for s in formats],
)
def test_infos_of_any_shape_stand_beside_their_steps(minari_set, infos, stored_as):
    place, buffers = minari_set(stored_as, infos)
    log = catalog.load(str(place))
    np.testing.assert_array_equal(log.behaviour_log_probs, ALL)
    np.testing.assert_array_equal(log.episode_starts, STARTS)
    np.testing.assert_array_equal(log.rewards, np.concatenate([b.rewards for b in buffers]))
    np.testing.assert_array_equal(log.actions, np.concatenate([b.actions for b in buffers]))
    np.testing.assert_array_equal(log.next_observations(), np.concatenate([b.observations[1:] for b in buffers]))
    np.testing.assert_array_equal(log.observations, np.concatenate([b.observations[:-1] for b in buffers]))
    assert log.terminated.nonzero()[0].tolist() == (STARTS[1::2] - 1).tolist()
    assert log.truncated.nonzero()[0].tolist() == (STARTS[2::2] - 1).tolist()
    assert (log.action_space.low.tolist(), log.action_space.high.tolist()) == ([-2, -2], [2, 2])
    assert (log.log_probs_origin, log.convention, log.observations.dtype) == ("recorded", "tanh_gaussian", np.float32)


def test_the_same_log_has_the_same_fingerprint_in_all_formats(minari_set):
    infos = INFOS["T + 1, nan first"][0]
    logs = [catalog.load(str(minari_set(s, infos, name=f"lab/{s}-v0")[0])) for s in FORMATS]
    assert len({log.fingerprint for log in logs}) == 1


@pytest.mark.parametrize("stored_as", FORMATS)
@pytest.mark.parametrize("infos", [lambda k: None, lambda k: {}], ids=["none", "empty"])
def test_without_infos_there_are_no_log_probs(minari_set, infos, stored_as):
    log = catalog.load(str(minari_set(stored_as, infos)[0]))
    assert (log.log_probs_origin, np.isnan(log.behaviour_log_probs).all()) == ("none", True)
    assert "no log-probs: its infos hold nothing." in log.notes


@pytest.mark.parametrize("stored_as", FORMATS)
def test_what_stands_in_place_of_log_probs_is_named(minari_set, stored_as):
    log = catalog.load(str(minari_set(stored_as, lambda k: {"speed": after_reset(k), "x": {"y": after_reset(k)}})[0]))
    assert "no log-probs: its infos hold speed, x." in log.notes


@pytest.mark.parametrize("stored_as", FORMATS)
def test_a_name_of_the_users_is_taken(minari_set, stored_as):
    place, _ = minari_set(stored_as, lambda k: {"mine": after_reset(k), "log_prob": 0 * after_reset(k)})
    log = catalog.load(str(place), ReadOptions(log_prob_key="mine"))
    np.testing.assert_array_equal(log.behaviour_log_probs, ALL)


@pytest.mark.parametrize("stored_as", FORMATS)
def test_dict_observations_are_laid_side_by_side_as_gymnasium_flattens_them(minari_set, stored_as):
    space = spaces.Dict(
        zebra=spaces.Box(-1, 1, (2,), np.float32), arm=spaces.Box(-1, 1, (2, 2), np.float32),
        goal=spaces.Tuple([spaces.Box(-1, 1, (1,), np.float64), spaces.Box(-1, 1, (3,), np.float32)]),
    )  # fmt: skip
    place, buffers = minari_set(stored_as, INFOS["T + 1, nan first"][0], observed=space)
    log = catalog.load(str(place))
    sample = {
        "arm": buffers[2].observations["arm"][1], "zebra": buffers[2].observations["zebra"][1],
        "goal": tuple(part[1] for part in buffers[2].observations["goal"]),
    }  # fmt: skip
    np.testing.assert_array_equal(log.observations[STARTS[2] + 1], spaces.flatten(space, sample))
    assert log.final_observations.shape == (12, 10)
    np.testing.assert_array_equal(log.final_observations[2, 2:6], buffers[2].observations["arm"][-1].ravel())
    assert "observations are 4 arrays (zebra, arm, goal/0, goal/1)" in " ".join(log.notes).replace("_index_", "")


@pytest.mark.parametrize("stored_as", FORMATS)
def test_more_observations_than_are_read_are_refused(minari_set, stored_as, monkeypatch):
    monkeypatch.setattr("gipo_cli.data.minari_storages.MOST_MEMBERS", 2)
    space = spaces.Dict({f"sensor_{i}": BOX for i in range(3)})
    with pytest.raises(DataError, match=r"episode.0 has 3 members in 'observations'; up to 2 are read"):
        catalog.load(str(minari_set(stored_as, observed=space)[0]))


@pytest.mark.parametrize("stored_as", FORMATS)
def test_a_dict_that_holds_choices_is_refused(minari_set, stored_as):
    space = spaces.Dict(a=BOX, b=spaces.Discrete(3))
    with pytest.raises(DataError, match="'observations/b' is a Discrete space") as refused:
        catalog.load(str(minari_set(stored_as, observed=space)[0]))
    assert "FlattenObservation" in refused.value.hint


@pytest.mark.parametrize("stored_as", FORMATS)
def test_boxes_of_more_than_one_axis_keep_their_shape(minari_set, stored_as):
    place, buffers = minari_set(stored_as, observed=spaces.Box(-1, 1, (2, 3), np.float32))
    log = catalog.load(str(place))
    assert log.observations.shape == (STARTS[-1], 2, 3)
    np.testing.assert_array_equal(log.final_observations[0], buffers[0].observations[-1])


@pytest.mark.parametrize("stored_as", FORMATS)
def test_observations_of_one_number_have_the_shape_that_other_formats_give_them(minari_set, stored_as):
    place, buffers = minari_set(stored_as, observed=spaces.Discrete(16), acted=spaces.Discrete(4))
    log = catalog.load(str(place))
    np.testing.assert_array_equal(log.observations, np.concatenate([b.observations[:-1] for b in buffers]))
    np.testing.assert_array_equal(log.final_observations, [b.observations[-1] for b in buffers])


@pytest.mark.parametrize("stored_as", FORMATS)
def test_actions_of_two_axes_keep_their_bounds(minari_set, stored_as):
    low = np.array([[-1, -2], [-3, -np.inf]], np.float32)
    log = catalog.load(str(minari_set(stored_as, acted=spaces.Box(low, -low, dtype=np.float32))[0]))
    np.testing.assert_array_equal([log.action_space.low, log.action_space.high], [low, -low])


@pytest.mark.parametrize("low", [[[-1.0], [-1.0, 1.0]], [[[[[[[[[-1.0]]]]]]]]], ["-1", -1.0]])
def test_bounds_that_are_no_box_count_as_none(minari_set, low):
    place, _ = minari_set("hdf5")
    path = place / "data/metadata.json"
    metadata = json.loads(path.read_text())
    metadata["action_space"] = json.dumps(json.loads(metadata["action_space"]) | {"low": low})
    path.write_text(json.dumps(metadata))
    assert catalog.load(str(place)).action_space.low is None


@pytest.mark.parametrize("stored_as", FORMATS)
def test_choices_are_counted_from_the_spaces_start(minari_set, stored_as):
    place, buffers = minari_set(stored_as, INFOS["T + 1, nan first"][0], acted=spaces.Discrete(4, start=-1))
    log = catalog.load(str(place))
    assert (log.convention, log.action_space.n) == ("categorical", 4)
    np.testing.assert_array_equal(log.actions, np.concatenate([b.actions for b in buffers]) + 1)


@pytest.mark.parametrize("stored_as", FORMATS)
@pytest.mark.parametrize(
    ("space", "n"), [(spaces.MultiDiscrete([5]), 5), (spaces.MultiDiscrete([5], start=[-1]), 5),
                     (spaces.MultiBinary(1), 2)], ids=str,
)  # fmt: skip
def test_a_space_of_one_choice_says_how_many_there_are(minari_set, stored_as, space, n):
    log = catalog.load(str(minari_set(stored_as, acted=space)[0]))
    assert (log.convention, log.action_space.n) == ("categorical", n)
    assert set(log.actions) <= set(range(n))


@pytest.mark.parametrize("stored_as", FORMATS)
@pytest.mark.parametrize(
    ("space", "nvec", "start"),
    [(spaces.MultiDiscrete([3, 5]), (3, 5), 0), (spaces.MultiDiscrete([3, 5], start=[1, -2]), (3, 5), [1, -2]),
     (spaces.MultiBinary(3), (2, 2, 2), 0)], ids=str,
)  # fmt: skip
def test_a_choice_in_each_dimension_is_counted_from_its_start(minari_set, stored_as, space, nvec, start):
    place, buffers = minari_set(stored_as, acted=space)
    log = catalog.load(str(place))
    assert (log.convention, log.action_space.nvec) == ("multi_categorical", nvec)
    np.testing.assert_array_equal(log.actions, np.concatenate([b.actions for b in buffers]) - start)


@pytest.mark.parametrize("nvec", [[3], [3, 5, 2], ["3", "5"], [3, 10**30], None])
def test_choices_that_do_not_fit_the_actions_count_as_not_told(minari_set, nvec):
    place, buffers = minari_set("hdf5", acted=spaces.MultiDiscrete([3, 5]))
    path = place / "data/metadata.json"
    metadata = json.loads(path.read_text())
    metadata["action_space"] = json.dumps(json.loads(metadata["action_space"]) | {"nvec": nvec})
    path.write_text(json.dumps(metadata))
    made = np.concatenate([b.actions for b in buffers]).max(0) + 1
    assert catalog.load(str(place)).action_space.nvec == tuple(made.tolist())


@pytest.mark.parametrize("stored_as", FORMATS)
def test_images_are_refused_by_name(minari_set, stored_as):
    image = spaces.Box(0, 255, (32, 32, 3), np.uint8)
    with pytest.raises(DataError, match="'observations' holds images stored as JPEG"):
        catalog.load(str(minari_set(stored_as, observed=image)[0]))


@pytest.mark.parametrize("stored_as", FORMATS)
def test_what_gipo_recorded_comes_back(minari_set, stored_as, tmp_path):
    def infos(k):
        rows = np.arange(LENGTHS[k] + 1)
        return {
            "log_prob": after_reset(k), "pre_squash_actions": np.stack([rows, -rows], 1).astype("f4"),
            "executed_actions": np.stack([rows, rows], 1).astype("f8"), "policy_versions": rows + 1000 * k,
        }  # fmt: skip

    place, _ = minari_set(stored_as, infos)
    path = place / "data/metadata.json"
    said = {"gipo_convention": "gaussian", "gipo_log_probs_origin": "estimated", "gipo_environment": "Hopper-v5"}
    path.write_text(json.dumps(json.loads(path.read_text()) | said | {"gipo_action_bounds": ["high"]}))
    arrays = {
        "fc0/weight": np.ones((4, 3), "f4"), "fc0/bias": np.ones(4, "f4"), "last_fc/weight": np.ones((2, 4), "f4"),
        "last_fc/bias": np.ones(2, "f4"), "log_std": np.zeros(2, "f4"),
    }  # fmt: skip
    named = {
        "nonlinearity": "tanh", "output_distribution": "gaussian", "observation_clip": "10.0",
        "observation_epsilon": "1e-05", "log_std_clip": "-5.0,2.0",
    }  # fmt: skip
    save_file(arrays, place / "data/behaviour_policy.safetensors", named)
    log = catalog.load(str(place))
    step = np.concatenate([np.arange(1, steps + 1) for steps in LENGTHS])
    np.testing.assert_array_equal(log.pre_squash_actions, np.stack([step, -step], 1))
    np.testing.assert_array_equal(log.executed_actions, np.stack([step, step], 1))
    np.testing.assert_array_equal(log.policy_versions, step + 1000 * log.episode_of_step)
    assert (log.convention, log.log_probs_origin, log.environment) == ("gaussian", "estimated", "Hopper-v5")
    assert log.action_space.low is None and log.action_space.high.tolist() == [2, 2]
    weights = log.behaviour_weights
    assert sorted(weights.arrays) == sorted(arrays)
    assert (weights.nonlinearity, weights.output_distribution, weights.observation_clip) == ("tanh", "gaussian", 10)
    assert (weights.observation_epsilon, weights.log_std_bounds) == (1e-5, (-5, 2))


@pytest.mark.parametrize("stored_as", FORMATS)
def test_a_set_larger_than_memory_is_mapped_and_the_same(minari_set, stored_as, tmp_path, monkeypatch):
    place, _ = minari_set(stored_as, INFOS["T + 1, nan first"][0])
    plain = catalog.load(str(place))
    monkeypatch.setenv("GIPO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GIPO_COLUMN_MEMORY", "16")
    mapped = catalog.load(str(place))
    for name in ("observations", "final_observations", "actions", "rewards", "behaviour_log_probs"):
        assert isinstance(getattr(mapped, name), np.memmap), name
    assert mapped.fingerprint == plain.fingerprint
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.npy")}
    assert catalog.load(str(place)).fingerprint == plain.fingerprint
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").rglob("*.npy")} == before


@pytest.mark.parametrize("stored_as", COLUMNAR)
def test_an_episode_in_several_parts_is_one(minari_set, stored_as):
    place, _ = minari_set(stored_as, INFOS["T + 1, nan first"][0])
    plain = catalog.load(str(place))
    path = place / f"data/5/part-0.{stored_as}"
    table = pq.read_table(path) if stored_as == "parquet" else pa.ipc.open_file(path).read_all()
    store(table.slice(0, 3), path)
    store(table.slice(3), path.with_name(f"part-1.{stored_as}"))
    assert catalog.load(str(place)).fingerprint == plain.fingerprint


def test_a_small_parquet_file_of_many_rows_is_read_in_blocks(minari_set):
    """Runs of one value cost Parquet nothing: what a file unpacks to says nothing of its size on the disk."""
    place, _ = minari_set("parquet")
    rows = 2**18
    table = pa.table({
        "observations": pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(3 * rows, "f4")), 3),
        "actions": pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(2 * rows, "f4")), 2),
        "rewards": np.zeros(rows), "terminations": np.zeros(rows, bool), "truncations": np.zeros(rows, bool),
    })  # fmt: skip
    path = place / "data/0/part-0.parquet"
    pq.write_table(table, path)
    assert path.stat().st_size < 10**5
    log = catalog.load(str(place))
    assert log.transitions == rows - 1 + STARTS[-1] - LENGTHS[0]


def test_the_file_itself_and_its_directory_are_the_same_dataset(minari_set):
    place, _ = minari_set("hdf5", INFOS["T"][0])
    logs = [catalog.load(str(path)) for path in (place, place / "data", place / "data/main_data.hdf5")]
    assert len({log.fingerprint for log in logs}) == 1


def test_gymnasium_knows_the_environment_and_nothing_of_it_is_called(minari_set):
    place, _ = minari_set("parquet", env=gymnasium.spec("CartPole-v1"))
    assert catalog.load(str(place)).environment == "CartPole-v1"
