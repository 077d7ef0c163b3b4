"""LeRobot's layout, versions 2 and 3, with a log-prob feature added; pyarrow writes the files, as in LeRobot."""

import json
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gipo_cli.data import catalog
from gipo_cli.data.options import ReadOptions
from gipo_cli.errors import DataError
from gipo_cli.logs import open_log

LENGTHS = (4, 1, 3, 5)
STEPS = sum(LENGTHS)
EPISODE = np.repeat(np.arange(len(LENGTHS)), LENGTHS)
FRAME = np.concatenate([np.arange(steps) for steps in LENGTHS])
LAST = np.cumsum(LENGTHS) - 1
CUT = np.isin(np.arange(STEPS), LAST[[0, 3]])  # by a limit; episodes 1 and 2 end
DONE = np.isin(np.arange(STEPS), LAST)


def vectors(values, fixed):
    """Version 3 stores lists of a fixed size, version 2 lists of any."""
    values = np.asarray(values, "f4")
    if fixed:
        return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
    return pa.array(list(values), pa.list_(pa.float32()))


def table(fixed=True):
    rng = np.random.default_rng(6)
    return pa.table({
        "observation.state": vectors(rng.standard_normal((STEPS, 3)), fixed),
        "observation.effort": vectors(rng.standard_normal((STEPS, 2)), fixed),
        "observation.image": pa.array([{"bytes": b"\x89PNG", "path": "x.png"}] * STEPS),
        "action": vectors(rng.uniform(-0.9, 0.9, (STEPS, 2)), fixed),
        "action_log_prob": pa.array(-1.0 - np.arange(STEPS), pa.float32()),
        "next.reward": pa.array(np.arange(STEPS), pa.float32()),
        "next.done": DONE, "next.truncated": CUT, "next.success": DONE & ~CUT,
        "timestamp": pa.array(FRAME / 10, pa.float32()), "frame_index": FRAME, "episode_index": EPISODE,
        "index": np.arange(STEPS), "task_index": np.zeros(STEPS, int),
    })  # fmt: skip


@pytest.fixture
def write(tmp_path):
    """Write a data set as one version does; `change(table)` may spoil the table."""

    def write(version="v3.0", change=lambda found: found, info=None, name="pusht"):
        place = tmp_path / name
        (place / "data/chunk-000").mkdir(parents=True)
        (place / "meta").mkdir()
        found = change(table(fixed=version == "v3.0"))
        features = {name: {"dtype": "float32", "shape": [1], "names": None} for name in found.column_names}
        features["observation.images.top"] = {"dtype": "video", "shape": [96, 96, 3]}
        described = {"codebase_version": version, "total_frames": found.num_rows, "fps": 10, "features": features}
        (place / "meta/info.json").write_text(json.dumps(described if info is None else info))
        if version == "v3.0":
            pq.write_table(found.slice(0, 6), place / "data/chunk-000/file-000.parquet")
            (place / "data/chunk-001").mkdir()
            pq.write_table(found.slice(6), place / "data/chunk-001/file-000.parquet")
        else:
            for k, steps in enumerate(LENGTHS):
                path = place / f"data/chunk-000/episode_{k:06d}.parquet"
                pq.write_table(found.slice(LAST[k] + 1 - steps, steps), path)
        return place

    return write


def rename(old, new):
    return lambda found: found.rename_columns([new if name == old else name for name in found.column_names])


def put(name, values):
    return lambda found: found.set_column(found.schema.get_field_index(name), name, pa.array(values))


def drop(*names):
    return lambda found: found.drop_columns(list(names))


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_both_versions_read_as_the_same_episodes(write, version):
    log = catalog.load(str(write(version)))
    expected = table()
    # No next observation is stored: the two cut episodes give up their last step, whose observation is the final one.
    kept = ~CUT
    assert log.episode_lengths.tolist() == [3, 1, 3, 4]
    state = np.stack(expected["observation.state"].to_numpy())
    np.testing.assert_array_equal(log.observations[:, :3], state[kept])
    np.testing.assert_array_equal(log.observations[:, 3:], np.stack(expected["observation.effort"].to_numpy())[kept])
    np.testing.assert_array_equal(log.final_observations[0, :3], state[3])
    np.testing.assert_array_equal(log.behaviour_log_probs, (-1.0 - np.arange(STEPS))[kept])
    np.testing.assert_array_equal(log.rewards, np.arange(STEPS)[kept])
    assert log.terminated.nonzero()[0].tolist() == [3, 6]
    assert log.truncated.nonzero()[0].tolist() == [2, 10]
    assert log.log_probs_origin == "recorded"
    assert "observations are observation.state, observation.effort, laid side by side in this order." in log.notes
    assert "observation.image, observation.images.top are no vectors; they are left out." in log.notes


def test_versions_have_one_fingerprint(write):
    logs = [catalog.load(str(write(version, name=version))) for version in ("v2.1", "v3.0")]
    assert logs[0].fingerprint == logs[1].fingerprint


@pytest.mark.parametrize("name", ["log_prob", "behaviour_log_prob", "logp"])
def test_log_probs_go_by_any_usual_name(write, name):
    assert catalog.load(str(write(change=rename("action_log_prob", name)))).behaviour_log_probs[1] == -2


def test_log_probs_go_by_a_name_of_the_users(write):
    place = write(change=rename("action_log_prob", "policy.score"))
    log = catalog.load(str(place), ReadOptions(log_prob_key="policy.score", log_prob_convention="gaussian"))
    assert (log.behaviour_log_probs[1], log.convention) == (-2, "gaussian")


def test_a_stock_set_has_no_log_probs_and_is_told_so(write):
    with pytest.raises(DataError, match="no log-probabilities of the behaviour policy") as refused:
        open_log(str(write(change=drop("action_log_prob"))))
    assert "no log-probs: its columns hold nothing." in refused.value.hint


def test_without_truncations_every_done_is_a_true_end_and_this_is_noted(write):
    log = catalog.load(str(write(change=drop("next.truncated"))))
    assert (log.terminated.sum(), log.truncated.sum(), log.transitions) == (4, 0, STEPS)
    assert any("all count as true ends" in note for note in log.notes)


def test_without_marks_an_episode_is_cut_where_its_number_changes(write):
    log = catalog.load(str(write(change=drop("next.done", "next.truncated"))))
    assert log.episode_lengths.tolist() == [3, 2, 4]  # the episode of one cut step leads nowhere
    assert not log.terminated.any()


def test_features_of_one_number_stored_as_lists_read_the_same(write):
    plain = catalog.load(str(write())).fingerprint
    changes = [put(n, [[float(x)] for x in table()[n].to_pylist()]) for n in ("next.reward", "action_log_prob")]
    place = write(change=lambda found: changes[1](changes[0](found)), name="lists")
    assert catalog.load(str(place)).fingerprint == plain


def test_a_set_larger_than_memory_is_mapped_and_the_same(write, tmp_path, monkeypatch):
    place = write()
    plain = catalog.load(str(place))
    monkeypatch.setenv("GIPO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GIPO_COLUMN_MEMORY", "16")
    mapped = catalog.load(str(place))
    assert isinstance(mapped.observations, np.memmap) and isinstance(mapped.actions, np.memmap)
    assert mapped.fingerprint == plain.fingerprint


SPOILED = {
    "no rewards": (drop("next.reward"), "has no column 'next.reward'"),
    "no actions": (drop("action"), "has no column 'action'"),
    "no episodes": (drop("episode_index"), "has no column 'episode_index'"),
    "no vectors": (drop("observation.state", "observation.effort"), "has no observations but observation.image"),
    "text for numbers": (put("next.reward", ["x"] * STEPS), "'next.reward' has type string; expected numbers"),
    "bytes for numbers": (put("action", [b"x"] * STEPS), "'action' has type binary; expected numbers"),
    "ragged lists": (put("action", [[1.0]] * 7 + [[1.0, 2.0]] * (STEPS - 7)), "'action' has rows of 1 to 2 numbers"),
    "missing flags": (put("next.done", [None] * STEPS), "'next.done' has type null; expected numbers"),
    "missing whole numbers": (put("episode_index", [None, *EPISODE[1:].tolist()]), "misses a value in 1 rows"),
    "shuffled frames": (
        put("frame_index", FRAME[::-1].copy()), r"frame 3 of episode 0 comes after frame 4 \(row 1\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "said"), SPOILED.values(), ids=SPOILED)
def test_what_is_wrong_is_named(write, change, said):
    with pytest.raises(DataError, match=said):
        catalog.load(str(write(change=change)))


@pytest.mark.parametrize("kept", [0, 4, 200, -1])
def test_a_file_cut_short_is_refused(write, kept):
    path = write() / "data/chunk-001/file-000.parquet"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DataError, match=r"chunk-001/file-000.parquet is a damaged parquet file"):
        catalog.load(str(path.parent.parent.parent))


def test_a_column_that_a_later_file_lacks_is_named(write):
    place = write()
    path = place / "data/chunk-001/file-000.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["action"]), path)
    with pytest.raises(DataError, match=r"chunk-001/file-000.parquet has no column 'action'"):
        catalog.load(str(place))


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, "\x00"])
def test_a_damaged_description_is_refused(write, text):
    place = write()
    (place / "meta/info.json").write_text(text)
    with pytest.raises(DataError, match=r"info.json is damaged; expected a JSON object"):
        catalog.load(str(place))


@pytest.mark.parametrize("info", [{}, {"features": 5, "total_frames": "x"}, {"features": {"observation": None}}])
def test_an_odd_description_does_no_harm(write, info):
    assert catalog.load(str(write(info=info))).episodes == len(LENGTHS)


def test_a_directory_without_files_is_refused(write):
    place = write()
    for path in place.glob("data/*/*.parquet"):
        path.unlink()
    with pytest.raises(DataError, match="pusht holds no data"):
        catalog.load(str(place))


@pytest.mark.parametrize("what", ["data/chunk-001/file-000.parquet", "data/chunk-001", "meta/info.json"])
def test_links_that_lead_out_are_not_followed(write, tmp_path, what):
    place = write()
    os.rename(place / what, tmp_path / "outside")
    (place / what).symlink_to(tmp_path / "outside")
    with pytest.raises(DataError, match="is a link that leads out of"):
        catalog.load(str(place))


def test_a_hubs_cache_which_links_to_its_own_blobs_is_read(write, tmp_path):
    plain = catalog.load(str(write())).fingerprint
    snapshot = tmp_path / "datasets--lab--pusht/snapshots/0123abcd"
    snapshot.parent.mkdir(parents=True)
    os.rename(tmp_path / "pusht", snapshot)
    blobs = tmp_path / "datasets--lab--pusht/blobs"
    blobs.mkdir()
    for k, path in enumerate([*snapshot.glob("data/*/*.parquet"), snapshot / "meta/info.json"]):
        os.rename(path, blobs / str(k))
        path.symlink_to(os.path.relpath(blobs / str(k), path.parent))
    assert catalog.load(str(snapshot)).fingerprint == plain
