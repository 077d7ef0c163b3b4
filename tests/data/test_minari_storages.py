"""Minari's three storage formats, written by Minari itself: the same log whichever it is stored as."""

import json
import os

import gymnasium
import h5py
import minari
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from gymnasium import spaces
from minari.data_collector.episode_buffer import EpisodeBuffer
from safetensors.numpy import save_file

from gipo_cli.data import catalog
from gipo_cli.data.options import ReadOptions
from gipo_cli.errors import DataError, GipoError

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:minari")
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


@pytest.fixture
def write(tmp_path, monkeypatch):
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


@pytest.mark.parametrize(
    ("infos", "stored_as"),
    [pytest.param(infos, s, id=f"{s}: {name}") for name, (infos, formats) in INFOS.items() for s in formats],
)
def test_infos_of_any_shape_stand_beside_their_steps(write, infos, stored_as):
    place, buffers = write(stored_as, infos)
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


def test_the_same_log_has_the_same_fingerprint_in_all_formats(write):
    infos = INFOS["T + 1, nan first"][0]
    logs = [catalog.load(str(write(s, infos, name=f"lab/{s}-v0")[0])) for s in FORMATS]
    assert len({log.fingerprint for log in logs}) == 1


@pytest.mark.parametrize("stored_as", FORMATS)
@pytest.mark.parametrize("infos", [lambda k: None, lambda k: {}], ids=["none", "empty"])
def test_without_infos_there_are_no_log_probs(write, infos, stored_as):
    log = catalog.load(str(write(stored_as, infos)[0]))
    assert (log.log_probs_origin, np.isnan(log.behaviour_log_probs).all()) == ("none", True)
    assert "no log-probs: its infos hold nothing." in log.notes


@pytest.mark.parametrize("stored_as", FORMATS)
def test_what_stands_in_place_of_log_probs_is_named(write, stored_as):
    log = catalog.load(str(write(stored_as, lambda k: {"speed": after_reset(k), "x": {"y": after_reset(k)}})[0]))
    assert "no log-probs: its infos hold speed, x." in log.notes


@pytest.mark.parametrize("stored_as", FORMATS)
def test_a_name_of_the_users_is_taken(write, stored_as):
    place, _ = write(stored_as, lambda k: {"mine": after_reset(k), "log_prob": 0 * after_reset(k)})
    log = catalog.load(str(place), ReadOptions(log_prob_key="mine"))
    np.testing.assert_array_equal(log.behaviour_log_probs, ALL)


@pytest.mark.parametrize("stored_as", FORMATS)
def test_dict_observations_are_laid_side_by_side_as_gymnasium_flattens_them(write, stored_as):
    space = spaces.Dict(
        zebra=spaces.Box(-1, 1, (2,), np.float32), arm=spaces.Box(-1, 1, (2, 2), np.float32),
        goal=spaces.Tuple([spaces.Box(-1, 1, (1,), np.float64), spaces.Box(-1, 1, (3,), np.float32)]),
    )  # fmt: skip
    place, buffers = write(stored_as, INFOS["T + 1, nan first"][0], observed=space)
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
def test_more_observations_than_are_read_are_refused(write, stored_as, monkeypatch):
    monkeypatch.setattr("gipo_cli.data.minari_storages.MOST_MEMBERS", 2)
    space = spaces.Dict({f"sensor_{i}": BOX for i in range(3)})
    with pytest.raises(DataError, match=r"episode.0 has 3 members in 'observations'; up to 2 are read"):
        catalog.load(str(write(stored_as, observed=space)[0]))


@pytest.mark.parametrize("stored_as", FORMATS)
def test_a_dict_that_holds_choices_is_refused(write, stored_as):
    space = spaces.Dict(a=BOX, b=spaces.Discrete(3))
    with pytest.raises(DataError, match="'observations/b' is a Discrete space") as refused:
        catalog.load(str(write(stored_as, observed=space)[0]))
    assert "FlattenObservation" in refused.value.hint


@pytest.mark.parametrize("stored_as", FORMATS)
def test_boxes_of_more_than_one_axis_keep_their_shape(write, stored_as):
    place, buffers = write(stored_as, observed=spaces.Box(-1, 1, (2, 3), np.float32))
    log = catalog.load(str(place))
    assert log.observations.shape == (STARTS[-1], 2, 3)
    np.testing.assert_array_equal(log.final_observations[0], buffers[0].observations[-1])


@pytest.mark.parametrize("stored_as", FORMATS)
def test_observations_of_one_number_have_the_shape_that_other_formats_give_them(write, stored_as):
    place, buffers = write(stored_as, observed=spaces.Discrete(16), acted=spaces.Discrete(4))
    log = catalog.load(str(place))
    np.testing.assert_array_equal(log.observations, np.concatenate([b.observations[:-1] for b in buffers]))
    np.testing.assert_array_equal(log.final_observations, [b.observations[-1] for b in buffers])


@pytest.mark.parametrize("stored_as", FORMATS)
def test_actions_of_two_axes_keep_their_bounds(write, stored_as):
    low = np.array([[-1, -2], [-3, -np.inf]], np.float32)
    log = catalog.load(str(write(stored_as, acted=spaces.Box(low, -low, dtype=np.float32))[0]))
    np.testing.assert_array_equal([log.action_space.low, log.action_space.high], [low, -low])


@pytest.mark.parametrize("low", [[[-1.0], [-1.0, 1.0]], [[[[[[[[[-1.0]]]]]]]]], ["-1", -1.0]])
def test_bounds_that_are_no_box_count_as_none(write, low):
    place, _ = write("hdf5")
    path = place / "data/metadata.json"
    metadata = json.loads(path.read_text())
    metadata["action_space"] = json.dumps(json.loads(metadata["action_space"]) | {"low": low})
    path.write_text(json.dumps(metadata))
    assert catalog.load(str(place)).action_space.low is None


@pytest.mark.parametrize("stored_as", FORMATS)
def test_choices_are_counted_from_the_spaces_start(write, stored_as):
    place, buffers = write(stored_as, INFOS["T + 1, nan first"][0], acted=spaces.Discrete(4, start=-1))
    log = catalog.load(str(place))
    assert (log.convention, log.action_space.n) == ("categorical", 4)
    np.testing.assert_array_equal(log.actions, np.concatenate([b.actions for b in buffers]) + 1)


@pytest.mark.parametrize("stored_as", FORMATS)
@pytest.mark.parametrize(
    ("space", "n"), [(spaces.MultiDiscrete([5]), 5), (spaces.MultiDiscrete([5], start=[-1]), 5),
                     (spaces.MultiBinary(1), 2)], ids=str,
)  # fmt: skip
def test_a_space_of_one_choice_says_how_many_there_are(write, stored_as, space, n):
    log = catalog.load(str(write(stored_as, acted=space)[0]))
    assert (log.convention, log.action_space.n) == ("categorical", n)
    assert set(log.actions) <= set(range(n))


@pytest.mark.parametrize("stored_as", FORMATS)
def test_images_are_refused_by_name(write, stored_as):
    image = spaces.Box(0, 255, (32, 32, 3), np.uint8)
    with pytest.raises(DataError, match="'observations' holds images stored as JPEG"):
        catalog.load(str(write(stored_as, observed=image)[0]))


@pytest.mark.parametrize("stored_as", FORMATS)
def test_what_gipo_recorded_comes_back(write, stored_as, tmp_path):
    def infos(k):
        rows = np.arange(LENGTHS[k] + 1)
        return {
            "log_prob": after_reset(k), "pre_squash_actions": np.stack([rows, -rows], 1).astype("f4"),
            "executed_actions": np.stack([rows, rows], 1).astype("f8"), "policy_versions": rows + 1000 * k,
        }  # fmt: skip

    place, _ = write(stored_as, infos)
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
def test_a_set_larger_than_memory_is_mapped_and_the_same(write, stored_as, tmp_path, monkeypatch):
    place, _ = write(stored_as, INFOS["T + 1, nan first"][0])
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
def test_an_episode_without_its_file_is_named(write, stored_as):
    place, _ = write(stored_as)
    (place / f"data/7/part-0.{stored_as}").unlink()
    with pytest.raises(DataError, match=r"data/7 holds no episode"):
        catalog.load(str(place))


@pytest.mark.parametrize("stored_as", COLUMNAR)
def test_a_set_whose_data_is_missing_is_told_from_one_of_another_format(write, stored_as):
    place, _ = write(stored_as)
    for path in place.glob("data/*/part-0.*"):
        path.unlink()
    with pytest.raises(DataError, match=rf"is a Minari dataset stored as {stored_as}; it holds no episodes"):
        catalog.load(str(place))


@pytest.mark.parametrize("stored_as", FORMATS)
def test_an_episode_that_goes_on_after_its_end_is_refused(write, stored_as):
    place, _ = write(stored_as)
    rewrite(place, stored_as, "terminations", lambda column: np.ones_like(column))
    with pytest.raises(DataError, match=r"episode.0 ends at step 0 of 5 and goes on after it"):
        catalog.load(str(place))


def rewrite(place, stored_as, key, change, episode=0):
    """Replace a column of one episode where it is stored."""
    if stored_as == "hdf5":
        with h5py.File(place / "data/main_data.hdf5", "r+") as file:
            column = change(file[f"episode_{episode}/{key}"][:])
            del file[f"episode_{episode}/{key}"]
            file[f"episode_{episode}/{key}"] = column
        return
    path = place / f"data/{episode}/part-0.{stored_as}"
    opened = pq.read_table(path) if stored_as == "parquet" else pa.ipc.open_file(path).read_all()
    index = opened.schema.get_field_index(key)
    column = opened.column(index).combine_chunks()
    changed = opened.set_column(index, key, pa.array(change(column.to_numpy(zero_copy_only=False))))
    store(changed, path)


def store(table, path):
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    else:
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)


@pytest.mark.parametrize("stored_as", COLUMNAR)
def test_an_episode_in_several_parts_is_one(write, stored_as):
    place, _ = write(stored_as, INFOS["T + 1, nan first"][0])
    plain = catalog.load(str(place))
    path = place / f"data/5/part-0.{stored_as}"
    table = pq.read_table(path) if stored_as == "parquet" else pa.ipc.open_file(path).read_all()
    store(table.slice(0, 3), path)
    store(table.slice(3), path.with_name(f"part-1.{stored_as}"))
    assert catalog.load(str(place)).fingerprint == plain.fingerprint


@pytest.mark.parametrize("stored_as", COLUMNAR)
@pytest.mark.parametrize("kept", [0, 1, 4, 100, -1, -8])
def test_a_file_cut_short_is_refused(write, stored_as, kept):
    place, _ = write(stored_as)
    path = place / f"data/3/part-0.{stored_as}"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DataError, match=rf"data/3/part-0.{stored_as} is a damaged {stored_as} file"):
        catalog.load(str(place))


@pytest.mark.parametrize("stored_as", COLUMNAR)
@pytest.mark.parametrize(
    ("column", "said"),
    [
        (lambda c: ["x"] * len(c), "has type string; expected numbers"),
        (lambda c: [b"x"] * len(c), "has type binary; expected numbers"),
        (lambda c: [{"a": 1.0}] * len(c), "has type struct<a: double>; expected numbers"),
        (lambda c: [[1.0], [1.0, 2.0]] * (len(c) // 2), "of episode 0 has shape"),
    ],
    ids=["text", "bytes", "struct", "ragged"],
)
def test_other_things_than_numbers_are_refused(write, stored_as, column, said):
    place, _ = write(stored_as)
    rewrite(place, stored_as, "rewards", column)
    with pytest.raises(DataError, match=rf"'rewards' ({said}|has rows of 1 to 2 numbers)"):
        catalog.load(str(place))


@pytest.mark.parametrize("stored_as", COLUMNAR)
def test_flags_that_are_missing_in_a_row_are_refused(write, stored_as):
    place, _ = write(stored_as)
    rewrite(place, stored_as, "terminations", lambda c: [None, *([False] * (len(c) - 1))])
    with pytest.raises(DataError, match="'terminations' misses a value in 1 rows"):
        catalog.load(str(place))


@pytest.mark.parametrize("stored_as", COLUMNAR)
@pytest.mark.parametrize("key", ["observations", "actions", "rewards", "terminations"])
def test_a_missing_column_is_named(write, stored_as, key):
    place, _ = write(stored_as)
    path = place / f"data/2/part-0.{stored_as}"
    table = pq.read_table(path) if stored_as == "parquet" else pa.ipc.open_file(path).read_all()
    store(table.drop_columns([key]), path)
    with pytest.raises(DataError, match=f"episode 2 has no column '{key}'"):
        catalog.load(str(place))


@pytest.mark.parametrize("stored_as", COLUMNAR)
def test_an_episode_whose_infos_differ_is_refused(write, stored_as):
    infos = INFOS["T + 1, nan first"][0]
    place, _ = write(stored_as, lambda k: infos(k) if k != 4 else {"speed": after_reset(k)})
    with pytest.raises(DataError, match="episode 4 has no column 'infos/log_prob', which the first episode has"):
        catalog.load(str(place))


@pytest.mark.parametrize("stored_as", FORMATS)
@pytest.mark.parametrize("what", ["file", "directory"])
def test_links_that_lead_out_are_not_followed(write, stored_as, tmp_path, what):
    place, _ = write(stored_as)
    if stored_as == "hdf5":
        linked = place / "data/main_data.hdf5"
    else:
        linked = place / (f"data/1/part-0.{stored_as}" if what == "file" else "data/1")
    outside = tmp_path / "outside"
    os.rename(linked, outside)
    linked.symlink_to(outside)
    with pytest.raises(DataError, match="is a link that leads out of"):
        catalog.load(str(place))


def test_a_policy_file_that_is_a_link_or_damaged_is_refused(write, tmp_path):
    place, _ = write("hdf5")
    policy = place / "data/behaviour_policy.safetensors"
    policy.write_bytes(b"\xff" * 64)
    with pytest.raises(DataError, match="is not a readable safetensors file"):
        catalog.load(str(place))
    policy.unlink()
    policy.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="is a link, which is not followed"):
        catalog.load(str(place))


@pytest.mark.parametrize("stored_as", FORMATS)
@pytest.mark.parametrize(
    "space",
    [
        '{"type": "Dict", "subspaces": ' * 5000 + "{}" + "}" * 5000,
        json.dumps({"type": "Box", "shape": [10**30]}),
        json.dumps({"type": "Box", "shape": [-3]}),
        json.dumps({"type": "Box", "shape": "abc", "low": "x"}),
        json.dumps([1, 2]),
        "\x00",
        "5",
    ],
    ids=["deep", "huge", "negative", "text", "list", "garbage", "number"],
)
def test_a_damaged_space_is_refused_or_does_no_harm(write, stored_as, space):
    place, _ = write(stored_as, INFOS["T + 1, nan first"][0])
    path = place / "data/metadata.json"
    fields = json.loads(path.read_text())
    path.write_text(json.dumps(fields | {"observation_space": space, "action_space": space}))
    assert catalog.load(str(place)).transitions == STARTS[-1]


def test_a_small_parquet_file_of_many_rows_is_read_in_blocks(write):
    """Runs of one value cost Parquet nothing: what a file unpacks to says nothing of its size on the disk."""
    place, _ = write("parquet")
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


@pytest.mark.parametrize("stored_as", COLUMNAR)
def test_scattered_damage_is_refused_or_harmless(write, stored_as):
    place, _ = write(stored_as, INFOS["T + 1, nan first"][0])
    path = place / f"data/5/part-0.{stored_as}"
    whole, refused = path.read_bytes(), 0
    for seed in range(150):
        rng = np.random.default_rng(seed)
        content = np.frombuffer(whole, np.uint8).copy()
        content[rng.integers(0, len(content), 8)] = rng.integers(0, 256, 8)
        path.write_bytes(content.tobytes())
        try:
            catalog.load(str(place))
        except GipoError:
            refused += 1
    assert refused > 50


@pytest.mark.parametrize("link", [h5py.SoftLink("/episode_0"), h5py.ExternalLink("other.hdf5", "/")])
@pytest.mark.parametrize("key", ["episode_1", "episode_1/rewards", "episode_1/infos", "episode_0/infos/log_prob"])
def test_links_in_the_file_are_not_followed(write, key, link):
    place, _ = write("hdf5", INFOS["T"][0])
    with h5py.File(place / "data/main_data.hdf5", "r+") as file:
        del file[key]
        file[key] = link
    with pytest.raises(DataError, match=f"is a {type(link).__name__}, which is not followed"):
        catalog.load(str(place))


def test_storage_outside_the_file_and_absurd_sizes_are_refused(write, tmp_path):
    place, _ = write("hdf5", INFOS["T"][0])
    (tmp_path / "secret").write_bytes(b"\x00" * 40)
    with h5py.File(place / "data/main_data.hdf5", "r+") as file:
        del file["episode_0/rewards"]
        file["episode_0"].create_dataset("rewards", (5,), "f8", external=[(str(tmp_path / "secret"), 0, 40)])
    with pytest.raises(DataError, match="'rewards' is stored outside the file"):
        catalog.load(str(place))
    with h5py.File(place / "data/main_data.hdf5", "r+") as file:
        del file["episode_0/rewards"]
        file["episode_0"].create_dataset("rewards", (10**12,), "f8", chunks=(10**6,))
    with pytest.raises(DataError, match="'rewards' claims 8,000,000,000,000 bytes"):
        catalog.load(str(place))


@pytest.mark.parametrize("stored_as", COLUMNAR)
def test_more_rows_than_the_disk_has_room_for_are_refused_before_any_is_unpacked(write, stored_as, monkeypatch):
    """A footer may claim what it likes: the column is sized from it, and a size that cannot be is not allocated."""
    place, _ = write(stored_as)
    monkeypatch.setattr("gipo_cli.data.arrow_files.ArrowFile.rows", 2**39)
    with pytest.raises(DataError, match="more than memory takes"):
        catalog.load(str(place))


def test_the_file_itself_and_its_directory_are_the_same_dataset(write):
    place, _ = write("hdf5", INFOS["T"][0])
    logs = [catalog.load(str(path)) for path in (place, place / "data", place / "data/main_data.hdf5")]
    assert len({log.fingerprint for log in logs}) == 1


def test_gymnasium_knows_the_environment_and_nothing_of_it_is_called(write):
    place, _ = write("parquet", env=gymnasium.spec("CartPole-v1"))
    assert catalog.load(str(place)).environment == "CartPole-v1"


def test_a_name_in_the_file_that_is_no_text_does_no_harm(write):
    place, _ = write("hdf5", INFOS["T"][0])
    with h5py.File(place / "data/main_data.hdf5", "r+") as file:
        h5py.h5g.create(file.id, b"episode_\xff\xfe")
    assert catalog.load(str(place)).episodes == len(LENGTHS)


def test_a_column_whose_name_is_no_text_is_refused(write):
    place, _ = write("arrow")
    path = place / "data/1/part-0.arrow"
    path.write_bytes(path.read_bytes().replace(b"rewards", b"rew\xffrds"))
    with pytest.raises(DataError, match="is a damaged arrow file"):
        catalog.load(str(place))
