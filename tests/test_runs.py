import json
import os
import subprocess
import sys
import tomllib
import zipfile

import numpy as np
import pytest

from gipo_cli import archives, durable
from gipo_cli.config import TrainConfig, from_values
from gipo_cli.errors import RunError, SettingError
from gipo_cli.runs import RunDirectory


@pytest.fixture
def run(tmp_path):
    return RunDirectory.create(tmp_path / "run")


def test_create_makes_parents_and_takes_an_empty_directory(tmp_path):
    RunDirectory.create(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    RunDirectory.create(tmp_path / "a" / "b")


def test_create_refuses_a_directory_with_something_in_it(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(SettingError) as raised:
        RunDirectory.create(tmp_path)
    assert raised.value.message == f"the output directory {tmp_path} is not empty."
    assert raised.value.hint == "Choose another --out, or empty it yourself."
    assert raised.value.exit_code == 2
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]


def test_create_on_a_run_says_how_to_continue_it(run):
    run.update(status="running")
    with pytest.raises(SettingError) as raised:
        RunDirectory.create(run.path)
    assert raised.value.message == f"the output directory {run.path} is not empty."
    assert raised.value.hint == f"Choose another --out, or continue it with `gipo train --resume {run.path}`."
    assert run.record() == {"status": "running"}


def test_create_refuses_a_file(tmp_path):
    place = tmp_path / "file"
    place.write_text("mine")
    with pytest.raises(SettingError) as raised:
        RunDirectory.create(place)
    assert raised.value.message == f"the output directory {place} is a file."
    assert place.read_text() == "mine"


def test_create_below_a_file_is_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SettingError) as raised:
        RunDirectory.create(tmp_path / "file" / "run")
    assert raised.value.message == f"the output directory {tmp_path / 'file' / 'run'} cannot be made (Not a directory)."


def test_open_of_a_missing_run(tmp_path):
    with pytest.raises(RunError) as raised:
        RunDirectory.open(tmp_path / "run")
    assert raised.value.message == f"there is no run directory {tmp_path / 'run'}."
    assert raised.value.hint == "Runs are made by `gipo train --out RUN`."
    assert raised.value.exit_code == 3


def test_open_of_what_is_no_run(tmp_path):
    with pytest.raises(RunError) as raised:
        RunDirectory.open(tmp_path)
    assert raised.value.message == f"{tmp_path} is not a run: it has no run.json."
    assert raised.value.hint == "Runs are made by `gipo train --out RUN`."


HOLDER = """
import sys
from pathlib import Path
from gipo_cli.runs import RunDirectory
with RunDirectory(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_run_held_by_another_process_is_refused_by_name_and_free_after_a_kill(run):
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(run.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        try:
            assert holder.stdout.readline() == "held\n"
            with pytest.raises(RunError) as raised, run:
                pass
            assert raised.value.message == (
                f"{run.path} is being written by process {holder.pid} on {os.uname().nodename}."
            )
            assert raised.value.hint == "Wait for it."
        finally:
            holder.kill()
    with run:  # the lock goes with its process, however that ended
        assert (run.path / "run.lock").read_text() == f"process {os.getpid()} on {os.uname().nodename}\n"


def test_a_run_whose_lock_cannot_be_opened_is_a_run_error(run):
    (run.path / "run.lock").mkdir()
    with pytest.raises(RunError) as raised, run:
        pass
    assert raised.value.message == f"{run.path} cannot be written (Is a directory)."


@pytest.mark.parametrize(
    "values",
    [
        {
            "text": 'a "quoted" name',
            "back": "C:\\new\\table",
            "line": "two\nlines\ttab",
            "odd": "\x00\x1b\x7f\x85é漢😀",
        },
        {"small": 1e-4, "smaller": 1e-07, "large": 1e16, "whole": 3.0, "third": 1 / 3, "infinite": float("inf")},
        {"yes": True, "no": False, "count": 0, "seed": 2**62, "negative": -5},
        {"sizes": [256, 256], "names": ["a", 'b"c'], "none": []},
        {"settings": {"sigma": 0.5, "tau": 1e-05}, "after": 1},
        {"settings": {}},
    ],
)
def test_config_is_read_back_as_written(run, values):
    run.write_config(values)
    found = run.read_config()
    assert found == values
    assert {name: type(value) for name, value in found.items()} == {name: type(value) for name, value in values.items()}


def test_a_whole_configuration_comes_back_from_its_toml(run):
    config = TrainConfig(
        dataset='logs/"odd"\x7f.hdf5', settings={"sigma": 0.3}, hidden_sizes=(8, 4), learning_rate=1e-5, seed=2**62
    )
    run.write_config(config.to_dict())
    assert from_values(run.read_config(), "config.toml") == config


@pytest.mark.parametrize("damage", [b"= 1", b"\xff\xfe", None])
def test_a_config_that_cannot_be_read_is_a_run_error(run, damage):
    if damage is not None:
        (run.path / "config.toml").write_bytes(damage)
    with pytest.raises(RunError, match=r"config\.toml cannot be read"):
        run.read_config()


def test_update_sets_fields_and_keeps_the_others(run):
    run.update(status="running", dataset={"name": "a"})
    run.update(status="finished", ess=0.5)
    assert run.record() == {"status": "finished", "dataset": {"name": "a"}, "ess": 0.5}
    assert [path.name for path in run.path.iterdir()] == ["run.json"]


def test_an_update_that_fails_leaves_the_record_as_it_was(run, monkeypatch):
    run.update(status="running")
    with pytest.raises(ValueError, match="not JSON compliant"):
        run.update(ess=float("nan"))
    for name in ("fsync", "replace"):

        def full(*arguments):
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr(os, name, full)
            with pytest.raises(OSError, match="No space left"):
                run.update(status="finished")
        assert run.record() == {"status": "running"}
        assert [path.name for path in run.path.iterdir()] == ["run.json"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"3", b"\xff"])
def test_a_damaged_record_is_a_run_error(run, content):
    (run.path / "run.json").write_bytes(content)
    with pytest.raises(RunError, match=r"run\.json (cannot be read|is damaged)"):
        run.record()


def test_a_configuration_of_the_users_own_is_not_written_over(tmp_path):
    (tmp_path / "config.toml").write_text("# mine")
    with pytest.raises(SettingError) as raised:
        RunDirectory.create(tmp_path)
    assert raised.value.message == f"the output directory {tmp_path} is not empty."
    assert (tmp_path / "config.toml").read_text() == "# mine"


def test_a_write_replaces_whole_files(tmp_path):
    place = tmp_path / "file"
    durable.write(place, b"a longer text")
    durable.write(place, b"short")
    assert place.read_bytes() == b"short"
    assert list(tmp_path.iterdir()) == [place]


def test_metrics_are_cut_back_to_a_step(run):
    assert run.metrics() == []
    for step in (100, 200, 300, 400):
        run.append_metrics({"step": step, "kl": step / 1000})
    kept = (run.path / "metrics.jsonl").read_bytes().split(b"\n")[:2]
    run.truncate_metrics(200)
    assert run.metrics() == [{"step": 100, "kl": 0.1}, {"step": 200, "kl": 0.2}]
    assert (run.path / "metrics.jsonl").read_bytes() == b"\n".join(kept) + b"\n"  # the same bytes as before


def test_half_a_line_left_by_a_kill_is_dropped_and_the_next_line_is_whole(run):
    run.append_metrics({"step": 100, "kl": 0.1})
    whole = (run.path / "metrics.jsonl").read_bytes()
    for cut in range(1, len(whole)):
        (run.path / "metrics.jsonl").write_bytes(whole + whole[:cut])
        assert run.metrics() == [{"step": 100, "kl": 0.1}]
        run.truncate_metrics(100)
        assert (run.path / "metrics.jsonl").read_bytes() == whole
    run.append_metrics({"step": 200, "kl": 0.2})
    assert [line["step"] for line in run.metrics()] == [100, 200]


@pytest.mark.parametrize("content", [b"{\n", b"\xff\n", b"3\n", b"[]\n", b"{}\n", b'{"step": "x"}\n'])
def test_damaged_metrics_are_a_run_error(run, content):
    (run.path / "metrics.jsonl").write_bytes(content)
    with pytest.raises(RunError, match=r"metrics\.jsonl is damaged"):
        run.truncate_metrics(1)


def test_metrics_refuse_nan_and_add_nothing(run):
    with pytest.raises(ValueError, match="not JSON compliant"):
        run.append_metrics({"step": 1, "kl": float("nan")})
    assert run.metrics() == []


def test_log_ratios_have_the_same_bytes_for_the_same_arrays(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    arrays = {
        "log_ratio": rng.standard_normal(1000).astype(np.float32),
        "episode": np.repeat(np.arange(10), 100),
        "held_out": rng.random(1000) < 0.1,
        "step": np.asarray(300),
    }
    first, second = (RunDirectory.create(tmp_path / name) for name in "ab")
    first.write_log_ratios(**arrays)
    monkeypatch.setattr("time.localtime", lambda *_: (2001, 1, 1, 0, 0, 0, 0, 1, 0))  # where zip files take their date
    second.write_log_ratios(**arrays)
    assert (first.path / "log_ratios.npz").read_bytes() == (second.path / "log_ratios.npz").read_bytes()
    with np.load(first.path / "log_ratios.npz", allow_pickle=False) as found:
        assert sorted(found.files) == sorted(arrays)
        for name, array in arrays.items():
            assert found[name].dtype == array.dtype
            np.testing.assert_array_equal(found[name], array)
    with zipfile.ZipFile(first.path / "log_ratios.npz") as archive:
        assert {member.date_time for member in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_large_log_ratios_need_no_cache_and_leave_nothing_beside_them(run, monkeypatch):
    monkeypatch.setattr(archives, "PIECE", 1000)
    monkeypatch.setenv("GIPO_CACHE", "/proc/there-is-no-such-place")
    run.write_log_ratios(log_ratio=np.random.default_rng(0).standard_normal(10_000))
    assert [path.name for path in run.path.iterdir()] == ["log_ratios.npz"]


def test_log_ratios_never_hold_pickled_objects(run):
    with pytest.raises(ValueError, match="allow_pickle"):
        run.write_log_ratios(log_ratio=np.array([{"a": 1}], dtype=object))
    assert list(run.path.iterdir()) == []


def test_the_files_are_plain_json_and_toml(run):
    run.write_config({"dataset": "x"})
    run.update(status="running")
    assert tomllib.loads((run.path / "config.toml").read_text()) == {"dataset": "x"}
    assert json.loads((run.path / "run.json").read_text()) == {"status": "running"}
