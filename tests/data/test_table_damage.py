"""Tables that are hostile, damaged or not what they say: refused in one sentence."""

import errno
import io
import struct
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from gipo_cli.data import catalog
from gipo_cli.data.readers.table import TABLE
from gipo_cli.errors import DataError
from tests.data.tables import (
    WRITERS,
    N,
    arrow_table,
    full_log,
    npy,
    npz_of,
    plain_columns,
    write_npz,
    write_parquet,
)


def objects():
    held = io.BytesIO()
    np.save(held, np.array([{"a": 1}] * N, object), allow_pickle=True)
    return held.getvalue()


@pytest.mark.parametrize(
    ("rewards", "expected"),
    [
        (objects(), "'rewards' holds pickled Python objects; unpickling runs code that the file brings"),
        (npy(np.zeros(N), (10**12, 11)), r"'rewards' has 64 bytes, and its shape .* needs 88,000,000,000,000"),
        (npy(np.zeros(N), (2**70,)), r"'rewards' has 64 bytes, and its shape"),
        (npy(np.zeros(N), (-1,)), r"'rewards' has shape \[-1\]; it cannot be"),
        (npy(np.zeros(N), (1,) * 40), r"cannot be"),
        (npy(np.zeros(N))[:-8], "'rewards' has 56 bytes, and its shape"),
        (npy(np.zeros(N), descr="|V8"), r"'rewards' holds \|V8; expected numbers"),
        (npy(np.zeros(N), descr="<c16"), r"'rewards' holds complex128; expected numbers"),
        (npy(np.zeros(N), descr="[('a', '<f8')]"), "cannot be read|expected numbers"),
        (b"\x93NUMPY\x01\x00\xff\xff{" + b"(" * 60_000, "cannot be read"),
        (b"\x93NUMPY\x09\x00", r"'rewards' is of .npy version \(9, 0\)"),
        (b"", "cannot be read"),
        (npy(np.array(["a"] * N)), "'rewards' holds text; expected numbers"),
        (npy(np.zeros((N, 3))), r"'rewards' has shape \[8, 3\]; expected one row a step"),
        (npy(np.zeros(N + 1)), "'rewards' has 9 rows, 'observations' 8; expected as many"),
        (npy(np.zeros(())), r"'rewards' has shape \[\]; expected one row a step"),
    ],
)
def test_hostile_members_are_refused(tmp_path, rewards, expected):
    with pytest.raises(DataError, match=expected):
        catalog.load(str(npz_of(tmp_path / "log.npz", rewards=rewards)))


@pytest.mark.parametrize("name", ["final_observations", "action_low", "weights/log_std"])
def test_text_beside_the_rows_is_refused(tmp_path, name):
    path = write_npz(full_log(), tmp_path / "log.npz")
    arrays = dict(np.load(path)) | {name: np.array([["a", "b", "c"]] * 3)}
    np.savez(path, **arrays)
    with pytest.raises(DataError, match=f"'{name}' holds text; expected numbers"):
        catalog.load(str(path))


def test_big_endian_and_column_order_members_are_read(tmp_path):
    columns = plain_columns()
    columns["observations"] = np.asfortranarray(columns["observations"].astype(">f4"))
    columns["rewards"] = columns["rewards"].astype(">f8")
    np.savez(tmp_path / "log.npz", **columns)
    log = catalog.load(str(tmp_path / "log.npz"))
    np.testing.assert_array_equal(log.observations, columns["observations"][: N - 1])
    np.testing.assert_array_equal(log.rewards, columns["rewards"][: N - 1])
    assert log.rewards.dtype == np.float64
    assert log.rewards.dtype.isnative


def test_a_size_that_no_compression_reaches_is_refused(tmp_path):
    path = npz_of(tmp_path / "log.npz")
    raw = bytearray(path.read_bytes())
    at = raw.rindex(b"PK\x01\x02", 0, raw.rindex(b"PK\x05\x06"))
    raw[at + 24 : at + 28] = struct.pack("<I", 2**31)
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"claims 2,147,483,648 bytes out of \d+; it cannot be"):
        catalog.load(str(path))


def test_a_bomb_needs_room_on_the_disk_not_memory(tmp_path, monkeypatch):
    monkeypatch.setenv("GIPO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GIPO_COLUMN_MEMORY", "1000000")
    monkeypatch.setattr("gipo_cli.data.cache.SPARE_DISK", 2**62)
    path = npz_of(tmp_path / "log.npz", rewards=np.zeros(4_000_000))
    assert path.stat().st_size < 100_000
    with pytest.raises(DataError, match="'rewards' has 32,000,000 bytes, more than memory takes"):
        catalog.load(str(path))


def test_a_column_that_cannot_be_mapped_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("GIPO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GIPO_COLUMN_MEMORY", "16")

    def fail(*_):
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    pq.write_table(arrow_table(plain_columns()), path := tmp_path / "log.parquet")
    monkeypatch.setattr(np.lib.format, "open_memmap", fail)
    with pytest.raises(DataError, match=r"cannot hold it \(Cannot allocate memory\)"):
        catalog.load(str(path))


PACKED = {
    "numbers": lambda: {"rewards": np.zeros(2**24)},
    "lists": lambda: {"rewards": [np.zeros(2**24)]},
    "words": lambda: {"rewards": pa.array(["a" * 2**27, "b"]).dictionary_encode()},
}


@pytest.mark.parametrize("columns", PACKED.values(), ids=PACKED)
def test_an_arrow_batch_that_unpacks_to_more_than_it_can_is_not_read(tmp_path, columns):
    path = tmp_path / "log.arrow"
    feather.write_feather(pa.table(columns()), path, compression="zstd", chunksize=2**24)
    assert path.stat().st_size < 5000
    with pytest.raises(DataError, match=r"a batch claims 134,217,7\d\d bytes in a file of 4,\d{3}; it is not read"):
        catalog.load(str(path))


def test_a_description_of_megabytes_is_not_read(tmp_path):
    path = npz_of(tmp_path / "log.npz", gipo=np.zeros(5 * 2**20, np.uint8))
    with pytest.raises(DataError, match="the description 'gipo' has 5,242,880 bytes; up to 4,194,304 are read"):
        catalog.load(str(path))


def test_weights_that_no_policy_has_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("gipo_cli.data.description.LARGEST_WEIGHTS", 100)
    path = write_npz(full_log(), tmp_path / "log.npz")
    with pytest.raises(DataError, match="the weights of its policy claim 112 bytes; up to 100 are read"):
        catalog.load(str(path))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_stands_there_twice_is_refused(tmp_path):
    path = npz_of(tmp_path / "log.npz")
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("rewards.npy", npy(np.ones(N)))
    with pytest.raises(DataError, match="has two members 'rewards'"):
        catalog.load(str(path))


def test_a_flipped_bit_in_an_npz_is_found(tmp_path):
    path = write_npz(full_log(), tmp_path / "log.npz", compressed=False)
    raw = bytearray(path.read_bytes())
    at = raw.index(full_log().rewards.tobytes())
    raw[at] ^= 1
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"log.npz cannot be read: Bad CRC-32 for file 'rewards.npy'"):
        catalog.load(str(path))


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"format": 2}, "the description 'gipo' is not one that gipo writes .format: Input should be 1"),
        ({"convention": "beta"}, "is not one that gipo writes .convention"),
        ({"environment": 3}, "is not one that gipo writes .environment"),
        ({"action_choices": -1}, "is not one that gipo writes .action_choices"),
        ({"weights": {"nonlinearity": "gelu"}}, "is not one that gipo writes .weights.nonlinearity"),
    ],
)
def test_a_description_that_gipo_did_not_write_is_refused(tmp_path, kind, changed, expected):
    with pytest.raises(DataError, match=expected):
        catalog.load(str(WRITERS[kind](full_log(), tmp_path / f"log.{kind}", **changed)))


def test_rows_that_do_not_fill_the_shape_that_the_file_describes_are_refused(tmp_path):
    path = write_parquet(full_log(), tmp_path / "log.parquet", action_shape=[3, 3])
    with pytest.raises(DataError, match=r"'actions' has shape \[8, 2\]; expected \[3, 3\] a row"):
        catalog.load(str(path))


def test_actions_of_no_dimension_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"the actions have shape \[8, 0\]; expected one dimension or more"):
        catalog.load(str(npz_of(tmp_path / "log.npz", actions=np.zeros((N, 0), np.float32))))


@pytest.mark.parametrize("starts", [[0, 3, 3, 8], [0, 9], [1, 8], [0], [0.0, 8.0], [[0, 8]]])
def test_episode_starts_that_do_not_rise_to_the_end_are_refused(tmp_path, starts):
    path = npz_of(tmp_path / "log.npz", episode_starts=np.array(starts))
    with pytest.raises(DataError, match="'episode_starts' does not rise from 0 to its 8 rows"):
        catalog.load(str(path))


def test_damaged_arrays_beside_a_parquet_are_refused(tmp_path):
    path = write_parquet(full_log(), tmp_path / "log.parquet")
    table = pq.read_table(path)
    broken = {**table.schema.metadata, b"gipo_arrays": table.schema.metadata[b"gipo_arrays"][:50]}
    pq.write_table(table.replace_schema_metadata(broken), path)
    with pytest.raises(DataError, match="its 'gipo_arrays' are no safetensors that can be read"):
        catalog.load(str(path))


@pytest.mark.parametrize("kind", ["npz", "parquet", "arrow"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_file_cut_short_is_one_sentence(tmp_path, kind, share):
    path = tmp_path / f"log.{kind}"
    if kind == "arrow":
        feather.write_feather(arrow_table(plain_columns()), path)
    else:
        WRITERS[kind](full_log(), path)
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * share)])
    with pytest.raises(DataError) as caught:
        catalog.load(str(path))
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\x00" * 5000, b"PK\x03\x04" + b"\x00" * 50, b"PAR1" * 9, b"ARROW1\x00\x00", b'"']
)
def test_recognising_never_raises(tmp_path, content):
    for name in ("log", "log.txt", "log.json"):
        (tmp_path / name).write_bytes(content)
        assert TABLE.recognises(tmp_path / name) is content.startswith(
            (b"PAR1", b"ARROW1")
        )  # reading says what is wrong
    for name in ("log.npz", "log.parquet", "log.csv", "log.arrow"):
        (tmp_path / name).write_bytes(content)
        TABLE.recognises(tmp_path / name)
    assert TABLE.recognises(tmp_path / "missing") is False
    assert TABLE.recognises(tmp_path) in (True, False)
