"""Minari sets that are hostile, damaged or cut short, in each of the three formats: refused in one sentence."""

import json
import os

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gipo_cli.data import catalog
from gipo_cli.errors import DataError, GipoError
from tests.data.minari_sets import COLUMNAR, FORMATS, INFOS, LENGTHS, STARTS, after_reset, store

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:minari")


@pytest.mark.parametrize("stored_as", COLUMNAR)
def test_an_episode_without_its_file_is_named(minari_set, stored_as):
    place, _ = minari_set(stored_as)
    (place / f"data/7/part-0.{stored_as}").unlink()
    with pytest.raises(DataError, match=r"data/7 holds no episode"):
        catalog.load(str(place))


@pytest.mark.parametrize("stored_as", COLUMNAR)
def test_a_set_whose_data_is_missing_is_told_from_one_of_another_format(minari_set, stored_as):
    place, _ = minari_set(stored_as)
    for path in place.glob("data/*/part-0.*"):
        path.unlink()
    with pytest.raises(DataError, match=rf"is a Minari dataset stored as {stored_as}; it holds no episodes"):
        catalog.load(str(place))


@pytest.mark.parametrize("stored_as", FORMATS)
def test_an_episode_that_goes_on_after_its_end_is_refused(minari_set, stored_as):
    place, _ = minari_set(stored_as)
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


@pytest.mark.parametrize("stored_as", COLUMNAR)
@pytest.mark.parametrize("kept", [0, 1, 4, 100, -1, -8])
def test_a_file_cut_short_is_refused(minari_set, stored_as, kept):
    place, _ = minari_set(stored_as)
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
def test_other_things_than_numbers_are_refused(minari_set, stored_as, column, said):
    place, _ = minari_set(stored_as)
    rewrite(place, stored_as, "rewards", column)
    with pytest.raises(DataError, match=rf"'rewards' ({said}|has rows of 1 to 2 numbers)"):
        catalog.load(str(place))


@pytest.mark.parametrize("stored_as", COLUMNAR)
def test_flags_that_are_missing_in_a_row_are_refused(minari_set, stored_as):
    place, _ = minari_set(stored_as)
    rewrite(place, stored_as, "terminations", lambda c: [None, *([False] * (len(c) - 1))])
    with pytest.raises(DataError, match="'terminations' misses a value in 1 rows"):
        catalog.load(str(place))


@pytest.mark.parametrize("stored_as", COLUMNAR)
@pytest.mark.parametrize("key", ["observations", "actions", "rewards", "terminations"])
def test_a_missing_column_is_named(minari_set, stored_as, key):
    place, _ = minari_set(stored_as)
    path = place / f"data/2/part-0.{stored_as}"
    table = pq.read_table(path) if stored_as == "parquet" else pa.ipc.open_file(path).read_all()
    store(table.drop_columns([key]), path)
    with pytest.raises(DataError, match=f"episode 2 has no column '{key}'"):
        catalog.load(str(place))


@pytest.mark.parametrize("stored_as", COLUMNAR)
def test_an_episode_whose_infos_differ_is_refused(minari_set, stored_as):
    infos = INFOS["T + 1, nan first"][0]
    place, _ = minari_set(stored_as, lambda k: infos(k) if k != 4 else {"speed": after_reset(k)})
    with pytest.raises(DataError, match="episode 4 has no column 'infos/log_prob', which the first episode has"):
        catalog.load(str(place))


@pytest.mark.parametrize("stored_as", FORMATS)
@pytest.mark.parametrize("what", ["file", "directory"])
def test_links_that_lead_out_are_not_followed(minari_set, stored_as, tmp_path, what):
    place, _ = minari_set(stored_as)
    if stored_as == "hdf5":
        linked = place / "data/main_data.hdf5"
    else:
        linked = place / (f"data/1/part-0.{stored_as}" if what == "file" else "data/1")
    outside = tmp_path / "outside"
    os.rename(linked, outside)
    linked.symlink_to(outside)
    with pytest.raises(DataError, match="is a link that leads out of"):
        catalog.load(str(place))


def test_a_policy_file_that_is_a_link_or_damaged_is_refused(minari_set, tmp_path):
    place, _ = minari_set("hdf5")
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
def test_a_damaged_space_is_refused_or_does_no_harm(minari_set, stored_as, space):
    place, _ = minari_set(stored_as, INFOS["T + 1, nan first"][0])
    path = place / "data/metadata.json"
    fields = json.loads(path.read_text())
    path.write_text(json.dumps(fields | {"observation_space": space, "action_space": space}))
    assert catalog.load(str(place)).transitions == STARTS[-1]


@pytest.mark.parametrize("stored_as", COLUMNAR)
def test_scattered_damage_is_refused_or_harmless(minari_set, stored_as):
    place, _ = minari_set(stored_as, INFOS["T + 1, nan first"][0])
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
def test_links_in_the_file_are_not_followed(minari_set, key, link):
    place, _ = minari_set("hdf5", INFOS["T"][0])
    with h5py.File(place / "data/main_data.hdf5", "r+") as file:
        del file[key]
        file[key] = link
    with pytest.raises(DataError, match=f"is a {type(link).__name__}, which is not followed"):
        catalog.load(str(place))


def test_storage_outside_the_file_and_absurd_sizes_are_refused(minari_set, tmp_path):
    place, _ = minari_set("hdf5", INFOS["T"][0])
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
def test_more_rows_than_the_disk_has_room_for_are_refused_before_any_is_unpacked(minari_set, stored_as, monkeypatch):
    """A footer may claim what it likes: the column is sized from it, and a size that cannot be is not allocated."""
    place, _ = minari_set(stored_as)
    monkeypatch.setattr("gipo_cli.data.arrow_files.ArrowFile.rows", 2**39)
    with pytest.raises(DataError, match="more than memory takes"):
        catalog.load(str(place))


def test_a_name_in_the_file_that_is_no_text_does_no_harm(minari_set):
    place, _ = minari_set("hdf5", INFOS["T"][0])
    with h5py.File(place / "data/main_data.hdf5", "r+") as file:
        h5py.h5g.create(file.id, b"episode_\xff\xfe")
    assert catalog.load(str(place)).episodes == len(LENGTHS)


def test_a_column_whose_name_is_no_text_is_refused(minari_set):
    place, _ = minari_set("arrow")
    path = place / "data/1/part-0.arrow"
    path.write_bytes(path.read_bytes().replace(b"rewards", b"rew\xffrds"))
    with pytest.raises(DataError, match="is a damaged arrow file"):
        catalog.load(str(place))
