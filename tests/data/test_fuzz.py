"""A thousand damaged files of all formats, and what larger runs of `fuzzing.py` found."""

import io
import json
import os
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gipo_cli.data import catalog, hdf5_text
from gipo_cli.data.hdf5 import attribute, open_safely, read_text
from gipo_cli.data.mapping import read_mapping
from gipo_cli.data.parquet_sizes import ALWAYS_TAKEN, require_plausible
from gipo_cli.data.writers import d4rl as d4rl_writer
from gipo_cli.errors import LONGEST, DataError, SettingError
from gipo_cli.logs import open_log
from gipo_cli.policies.stable_baselines3 import load_zip
from gipo_cli.policies.weights import load_policy

FUZZING = Path(__file__).with_name("fuzzing.py")


def test_damaged_files_of_every_format_are_read_or_refused_and_do_nothing_else(tmp_path):
    command = [sys.executable, str(FUZZING), "--files", "1000", "--seed", "20", "--jobs", "2", "--keep", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1,000 files" in done.stdout


def table(path, **changed):
    """A table of eight rows as NPZ; columns can be replaced."""
    rng = np.random.default_rng(0)
    columns = {"observations": rng.random((8, 2)), "actions": rng.standard_normal((8, 1)), "rewards": rng.random(8),
               "log_probs": -rng.random(8), "terminated": np.arange(8) % 4 == 3}  # fmt: skip
    np.savez(path, **columns | changed)
    return str(path)


def refusal(path):
    with pytest.raises(DataError) as refused:
        open_log(str(path))
    return refused.value.message.replace(str(path), "LOG")


# Words of variable length in HDF5.


@pytest.fixture
def worded(d4rl):
    """A log of a policy whose nonlinearity is a word of variable length, and where in the file its place is told."""
    path = d4rl()
    with h5py.File(path, "a") as file:
        group = file.create_group("metadata/policy")
        group["nonlinearity"], group["output_distribution"] = "tanh", "gaussian"
        file.attrs["env_id"] = "Hopper-v5"
        where = group["nonlinearity"].id.get_offset()
    return path, where


def test_words_of_variable_length_are_read(worded):
    with open_safely(worded[0]) as file:
        assert read_text(file["metadata/policy"], "nonlinearity") == "tanh"
        assert read_text(file, "metadata/policy/output_distribution") == "gaussian"
        assert attribute(file, "env_id") == "Hopper-v5"
        assert attribute(file, "none") is None


def test_they_are_read_by_one_other_process_a_group(worded, monkeypatch):
    seen, run = [], subprocess.run
    monkeypatch.setattr(
        hdf5_text.subprocess, "run", lambda *words, **more: seen.append(words[0]) or run(*words, **more)
    )
    with open_safely(worded[0]) as file:
        for _ in range(2):
            attribute(file, "env_id"), read_text(file["metadata/policy"], "nonlinearity")
    assert [command[-1] for command in seen] == ["/", "/metadata/policy"]


def test_a_word_that_claims_gigabytes_takes_none(worded):
    path, where = worded
    content = bytearray(path.read_bytes())
    content[where : where + 4] = (2**31 - 1).to_bytes(4, "little")
    path.write_bytes(content)
    before = int(Path("/proc/self/statm").read_text().split()[0])
    with open_safely(path) as file:
        assert read_text(file["metadata/policy"], "nonlinearity") is None
        assert read_text(file["metadata/policy"], "output_distribution") == "gaussian"
    assert (int(Path("/proc/self/statm").read_text().split()[0]) - before) * os.sysconf("SC_PAGE_SIZE") < 2**28


@pytest.mark.parametrize("program", ["import os; os.abort()", "while True: pass", "print('no JSON')"])
def test_words_whose_reading_ends_the_process_are_refused(worded, monkeypatch, program):
    run = subprocess.run
    monkeypatch.setattr(hdf5_text, "PATIENCE", 0.5)
    monkeypatch.setattr(
        hdf5_text.subprocess, "run", lambda _, **more: run([sys.executable, "-c", program], **more)
    )  # fmt: skip
    began = time.monotonic()
    assert refusal(worded[0]) == "LOG is a damaged HDF5 file (the words in '/metadata/policy' cannot be read)."
    assert time.monotonic() - began < 20


def test_nothing_is_imported_from_where_somebody_happens_to_be(worded, tmp_path, monkeypatch):
    (tmp_path / "h5py.py").write_text("open('ran', 'w').close()")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    with open_safely(worded[0]) as file:
        assert attribute(file, "env_id") == "Hopper-v5"
    assert not Path("ran").exists()


def test_our_own_words_need_no_other_process(tmp_path, monkeypatch):
    log = catalog.load(table(tmp_path / "log.npz"))
    d4rl_writer.write(log, tmp_path / "log.hdf5", {"command": "gipo", "seed": 3, "nothing": ""})
    monkeypatch.setattr(hdf5_text, "texts_of", None)
    assert catalog.load(str(tmp_path / "log.hdf5")).fingerprint == log.fingerprint
    with open_safely(tmp_path / "log.hdf5") as file:
        assert (attribute(file, "command"), attribute(file, "seed")) == ("gipo", 3.0)


# Parquet that claims more than it holds.


def bomb(path, values=ALWAYS_TAKEN + 16):
    """One row with many values, all 0."""
    pq.write_table(pa.table({"obs": pa.array([np.zeros(values, "f4")], pa.list_(pa.float32()))}), path)
    return values


def test_a_row_with_more_values_than_its_file_can_hold_is_refused(tmp_path):
    path = tmp_path / "bomb.parquet"
    values = bomb(path)
    assert path.stat().st_size < 8000
    with pytest.raises(DataError, match=rf"a column claims {values:,} values in [\d,]+ bytes; it is not read"):
        require_plausible(path)
    assert "a column claims" in refusal(path)


def test_a_footer_that_denies_it_is_not_believed(tmp_path):
    def varint(value, width=0):
        out = []
        while value or len(out) < max(width, 1):
            out.append(value & 0x7F | 0x80)
            value >>= 7
        return bytes([*out[:-1], out[-1] & 0x7F])

    path = tmp_path / "bomb.parquet"
    count = varint(2 * bomb(path))
    content, at = path.read_bytes(), path.read_bytes().rfind(count)
    path.write_bytes(content[:at] + varint(2, len(count)) + content[at + len(count) :])
    with pytest.raises(DataError, match="a column claims"):
        require_plausible(path)


@pytest.mark.parametrize("options", [
    {}, {"compression": "zstd"}, {"compression": "gzip", "use_dictionary": False}, {"data_page_version": "2.0"},
    {"row_group_size": 50}, {"data_page_size": 100, "write_page_index": True}, {"write_statistics": False},
])  # fmt: skip
def test_what_pyarrow_writes_is_plausible(tmp_path, options):
    rows = [np.full(20, k, "f4") for k in range(200)]
    held = pa.table({"a": range(200), "b": rows, "c": [{"d": row, "e": "x"} for row in rows], "f": [[[1.0]]] * 200})
    pq.write_table(held, tmp_path / "log.parquet", **options)
    require_plausible(tmp_path / "log.parquet")


def test_damage_of_the_footer_is_a_data_error(tmp_path):
    path = tmp_path / "log.parquet"
    pq.write_table(pa.table({"a": [[1.0], [2.0]]}), path)
    whole, refused = path.read_bytes(), 0
    for seed in range(500):
        rng = np.random.default_rng(seed)
        content = bytearray(whole)
        content[int(rng.integers(len(content)))] = int(rng.integers(256))
        path.write_bytes(content)
        try:
            require_plausible(path)
        except DataError:
            refused += 1
    assert 50 < refused < 450


# What else was found.


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"log_probs": np.ones(8, bool)}, "log: the log-probs are of type bool; expected numbers. [type]"),
        ({"gipo": np.array(["a"])}, "LOG: the description 'gipo' holds <U1; expected bytes."),
        ({"episode_starts": np.zeros((2, 2), int)}, "LOG: 'episode_starts' does not rise from 0 to its 8 rows."),
        ({"rewards": np.full(8, 1e300)},
         "log: 'rewards' holds a number beyond 3.4e+38 in row 0 (episode 0). [too-large]"),
        ({"episode": np.full(8, 0x110000, np.uint32).view("<U1")},
         "LOG: 'episode' holds numbers that stand for no letter."),
    ],
)  # fmt: skip
def test_columns_of_another_kind_are_refused(tmp_path, changed, expected):
    assert refusal(table(tmp_path / "log.npz", **changed)) == expected


def test_observations_whose_sum_overflows_and_no_number_does_are_refused(tmp_path):
    path = table(tmp_path / "log.npz", observations=np.full((8, 2), 1e308))
    assert "'observations' holds a number beyond 3.4e+38 in row 0" in refusal(path)


def test_the_header_of_an_array_that_breaks_off_is_refused(tmp_path):
    path = tmp_path / "log.npz"
    with zipfile.ZipFile(path, "w") as file:
        header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (8,"
        file.writestr("rewards.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
        file.writestr("actions.npy", b"")
    assert refusal(path).startswith("LOG cannot be read: ")


def test_a_number_of_thousands_of_digits_in_a_mapping_is_refused(tmp_path):
    (tmp_path / "map.toml").write_text(f"x = {'1' * 5000}")
    with pytest.raises(SettingError, match="is not TOML that can be read"):
        read_mapping(str(tmp_path / "map.toml"))


def test_a_model_whose_member_does_not_unpack_is_refused(tmp_path):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("data", "{}" * 200)
        file.writestr("policy.pth", b"")
    content = bytearray(packed.getvalue())
    content[34:42] = b"\xff" * 8
    (tmp_path / "model.zip").write_bytes(content)
    with pytest.raises(DataError, match="is a damaged model of Stable-Baselines3"):
        load_zip(tmp_path / "model.zip")


def test_a_message_is_not_as_long_as_a_stranger_likes(tmp_path):
    header = json.dumps({"x": "A" * 50_000}).encode()
    path = tmp_path / "policy.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(DataError, match="is not a readable safetensors file") as refused:
        load_policy(path)
    assert len(refused.value.message) < 600
    assert len(DataError("A" * 50_000).message) == LONGEST + 3


def test_an_encoding_that_there_is_not_is_as_good_as_no_word(d4rl):
    path = d4rl()
    with h5py.File(path, "a") as file:
        file["metadata/policy/nonlinearity"] = np.bytes_("odd one out")
        kind = file["metadata/policy/nonlinearity"].id.get_type().encode()
    content = bytearray(path.read_bytes())
    place = bytes(kind[2:10])  # the type as it stands in the file: class and version, then padding and encoding
    at = content.rindex(place)
    content[at + 1] |= 0x80
    path.write_bytes(content)
    with open_safely(path) as file:
        assert read_text(file["metadata/policy"], "nonlinearity") is None


def test_an_observation_beyond_float32_is_refused_in_rllib_s_json(tmp_path):
    batch = {"type": "SampleBatch", "obs": [[1e39], [0.0]], "actions": [0, 1], "rewards": [1.0, 1.0]}
    path = tmp_path / "log.json"
    path.write_text(json.dumps(batch))
    assert refusal(path) == "LOG: line 1: 'obs' holds a number that is not finite in row 0."


def test_an_action_whose_square_overflows_is_refused_in_rllib_s_json(tmp_path):
    path = tmp_path / "log.json"
    batch = {"type": "SampleBatch", "obs": [[1.0], [0.0]], "actions": [[1e200], [0.5]], "rewards": [1.0, 1.0],
             "action_logp": [-1.0, -2.0], "action_dist_inputs": [[0.0, 0.0], [0.0, 0.0]]}  # fmt: skip
    path.write_text(json.dumps(batch))
    assert "'actions' holds a number beyond 3.4e+38 in row 0" in refusal(path)


@pytest.mark.parametrize("linked", ["first file", "data", "meta.json"])
def test_a_link_that_leaves_a_directory_is_not_even_looked_at(tmp_path, linked):
    outside, place = tmp_path / "outside", tmp_path / "log"
    outside.mkdir(), place.mkdir()
    if linked == "data":
        (outside / "main_data.hdf5").write_bytes(b"")
        (place / "data").symlink_to(outside)
        assert "is a link that leads out of" in refusal(place)
        return
    name = "meta.json" if linked == "meta.json" else "a.json"
    (outside / name).write_text('{"type": "SampleBatch", "_type": "tensordict"}')
    (place / name).symlink_to(outside / name)
    assert refusal(place) == f"LOG/{name} is a link that leaves LOG; nothing outside a dataset is read."
