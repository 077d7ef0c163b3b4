"""Hostile and damaged files: refused in one sentence, nothing else read."""

import tracemalloc

import h5py
import numpy as np
import pytest

from gipo_cli.data import catalog
from gipo_cli.errors import DataError

SECRET = 1234.5


@pytest.fixture
def secret(tmp_path):
    """A file that no log has any business with."""
    np.full(12, SECRET).tofile(tmp_path / "secret.bin")
    with h5py.File(tmp_path / "secret.hdf5", "w") as file:
        file["rewards"] = np.full(12, SECRET)
    return tmp_path


def refused(path):
    with pytest.raises(DataError) as error:
        catalog.load(str(path))
    assert str(SECRET) not in error.value.message + error.value.hint
    return error.value.message


def replace_rewards(path, make):
    with h5py.File(path, "r+") as file:
        del file["rewards"]
        make(file)
    return path


def test_storage_outside_the_file_is_refused(d4rl, secret):
    def external(file):
        file.create_dataset("rewards", (12,), "f8", external=[(str(secret / "secret.bin"), 0, 96)])

    assert "'rewards' is stored outside the file" in refused(replace_rewards(d4rl(), external))


def test_a_virtual_dataset_is_refused(d4rl, secret):
    def virtual(file):
        layout = h5py.VirtualLayout((12,), "f8")
        layout[:] = h5py.VirtualSource(str(secret / "secret.hdf5"), "rewards", (12,))
        file.create_virtual_dataset("rewards", layout)

    assert "'rewards' is stored outside the file" in refused(replace_rewards(d4rl(), virtual))


@pytest.mark.parametrize(
    "link", [h5py.SoftLink("/observations"), h5py.SoftLink("/rewards"), h5py.ExternalLink("secret.hdf5", "rewards")]
)
def test_links_are_not_followed(d4rl, secret, link):
    def linked(file):
        file["rewards"] = link

    assert f"'rewards' is a {type(link).__name__}, which is not followed" in refused(replace_rewards(d4rl(), linked))


def test_a_column_that_claims_more_than_the_file_can_hold_is_not_read(d4rl):
    def huge(file):
        file.create_dataset("rewards", (10**12,), "f8", chunks=(10**6,))

    assert "claims 8,000,000,000,000 bytes" in refused(replace_rewards(d4rl(), huge))


def test_a_few_rows_in_a_chunk_of_many_megabytes_are_not_read(d4rl):
    def chunked(file):
        packing = {"compression": "gzip", "compression_opts": 9, "chunks": (2**24,), "maxshape": (None,)}
        file.create_dataset("rewards", data=np.ones(12), **packing)

    assert "'rewards' packs 96 bytes in chunks of 134,217,728" in refused(replace_rewards(d4rl(), chunked))


@pytest.mark.parametrize("packing", [{"compression": "gzip"}, {}])
def test_a_chunk_larger_than_its_rows_is_read_where_memory_takes_it(d4rl, packing):
    def chunked(file):
        file.create_dataset("rewards", data=np.ones(12), chunks=(2**16,), maxshape=(None,), **packing)

    assert catalog.load(str(replace_rewards(d4rl(), chunked))).rewards.tolist() == [1] * 12


@pytest.mark.parametrize("is_policy", [True, False])
def test_weights_that_are_one_array_many_times_are_not_read(d4rl, is_policy):
    path = d4rl()
    with h5py.File(path, "r+") as file:
        group = file.create_group("metadata/policy")
        if is_policy:
            group["nonlinearity"], group["output_distribution"] = np.bytes_("relu"), np.bytes_("tanh_gaussian")
        layer = group.create_dataset("log_std", data=np.ones(2**18), compression="gzip", compression_opts=9)
        for i in range(60):
            group[f"layer_{i}"] = layer

    if is_policy:
        assert "the weights of its policy claim 127,926,272 bytes" in refused(path)
    else:
        tracemalloc.start()
        try:
            assert catalog.load(str(path)).behaviour_weights is None
            assert tracemalloc.get_traced_memory()[1] < 2**21  # one of them has as much
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("column", [np.array([b"x"] * 12), np.array(["x"] * 12, h5py.string_dtype())])
def test_text_where_numbers_belong_is_refused(d4rl, column):
    def text(file):
        file["rewards"] = column

    assert "expected numbers" in refused(replace_rewards(d4rl(), text))


def test_a_group_where_a_column_belongs_is_refused(d4rl):
    def group(file):
        file.create_group("rewards")

    assert "'rewards' is a group; expected an array" in refused(replace_rewards(d4rl(), group))


@pytest.mark.parametrize("kept", [1, 7, 8, 500, -1])
def test_a_file_cut_short_anywhere_is_refused(d4rl, kept):
    path = d4rl()
    path.write_bytes(path.read_bytes()[:kept])
    assert "HDF5" in refused(path)


def test_a_flipped_bit_in_a_compressed_chunk_is_refused(cartpole_log, tmp_path):
    content = bytearray(cartpole_log.read_bytes())
    with h5py.File(cartpole_log) as file:
        chunk = file["observations"].id.get_chunk_info(0)
    content[chunk.byte_offset + chunk.size // 2] ^= 0x10
    (tmp_path / "flipped.hdf5").write_bytes(content)
    assert "'observations' is damaged" in refused(tmp_path / "flipped.hdf5")


def test_other_things_than_hdf5_are_refused_by_name(tmp_path):
    (tmp_path / "log.txt").write_text("step,reward\n")
    (tmp_path / "empty.hdf5").touch()
    assert refused(tmp_path / "log.txt") == f"{tmp_path}/log.txt is of no format that is known."
    assert refused(tmp_path / "empty.hdf5") == f"{tmp_path}/empty.hdf5 is not an HDF5 file."
    assert refused(tmp_path) == f"{tmp_path} is a directory with no log in it."


@pytest.mark.parametrize("libver", ["earliest", "v108"])
def test_a_superblock_that_names_a_driver_is_refused_before_the_library_sees_it(d4rl, tmp_path, libver):
    with h5py.File(d4rl("made.hdf5")) as old, h5py.File(tmp_path / "log.hdf5", "w", libver=libver) as new:
        for name in old:
            old.copy(name, new)
    path = tmp_path / "log.hdf5"
    assert catalog.load(str(path)).transitions  # either superblock is read
    raw = bytearray(path.read_bytes())
    if raw[8] > 1:
        return  # newer ones hold no such address
    raw[48:56] = (96).to_bytes(8, "little")  # what stands there would be taken for a block of up to 4 GiB
    path.write_bytes(raw)
    assert refused(path) == f"{path} is a damaged HDF5 file: it says to be one of several files."
