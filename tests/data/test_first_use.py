"""Logs of the catalog that are recorded on first use: once, by one process, where the cache is."""

import json
import multiprocessing
import os
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from gipo_cli.data import cache, catalog, first_use
from gipo_cli.data.catalog import Entry, Recipe
from gipo_cli.errors import DataError, SettingError
from gipo_cli.rendering import terminal

TINY = Entry("tiny", "CartPole-v1", "30 steps", Recipe(("random",), steps=30, environments=2), "")


@pytest.fixture(autouse=True)
def tiny(monkeypatch, tmp_path):
    monkeypatch.setenv("GIPO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(catalog.ENTRIES, "tiny", TINY)
    return TINY


def test_the_first_use_records_and_the_second_reads(gipo, tmp_path, tiny):
    assert state(gipo) == ("will be recorded", None)
    first = gipo("datasets", "info", "tiny", "--json")
    place = tmp_path / "cache" / "logs" / tiny.file
    assert first.stderr == f"note: recording tiny (30 steps) into {place}, once.\n"
    content = place.read_bytes()
    assert state(gipo)[0] == "recorded"
    second = gipo("datasets", "info", "tiny", "--json")
    assert (second.stdout, second.stderr) == (first.stdout, "")
    assert place.read_bytes() == content
    assert json.loads(first.stdout)["name"] == "tiny"


@pytest.mark.parametrize(
    ("command", "places"),
    [
        ("info tiny", ""),
        ("split tiny --out {}/a.npz --rest {}/b.npz", "a.npz b.npz"),
        ("merge tiny tiny --out {}/c.npz", "c.npz"),
        ("convert tiny {}/d.npz", "d.npz"),
    ],
)
def test_a_recording_shows_its_progress_unless_told_to_be_quiet(gipo, monkeypatch, tmp_path, tiny, command, places):
    shown = []

    @contextmanager
    def progress(description, total):
        shown.append(description)
        yield lambda n=1: None

    monkeypatch.setattr(terminal, "progress", progress)
    for quiet, expected in (("--quiet", []), ("", ["recording tiny"])):
        outcome = gipo("datasets", *command.format(tmp_path, tmp_path).split(), *quiet.split())
        assert (outcome.exit_code, shown) == (0, expected)
        for made in (tmp_path / "cache/logs" / tiny.file, *(tmp_path / name for name in places.split())):
            made.unlink()


def state(gipo):
    listed = json.loads(gipo("datasets", "list", "--json").stdout)["datasets"]
    return next((entry["state"], entry["bytes"]) for entry in listed if entry["name"] == "tiny")


def test_another_recipe_is_another_file(tiny):
    assert Entry("tiny", "CartPole-v1", "", Recipe(("random",), steps=31), "").file != tiny.file


def test_the_expected_fingerprint_is_quiet_and_another_is_said(monkeypatch, capsys, tiny):
    place = first_use.record_entry(tiny)
    fingerprint = catalog.load(str(place)).fingerprint
    place.unlink()
    capsys.readouterr()
    for expected, said in ((fingerprint, 0), ("sha256:0123456789abcdef", 1)):
        entry = Entry("tiny", "CartPole-v1", "30 steps", tiny.recipe, expected)
        first_use.record_entry(entry, quiet=True).unlink()
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1 + said
    assert lines[1] == (
        f"note: tiny as recorded here is {fingerprint[:19]}..., the one of its card sha256:0123456789ab...: with other "
        "versions of simulator or libraries, returns differ a little."
    )


def record_slowly(entry, queue):
    record = first_use.record

    def slow(*positional, **named):
        time.sleep(0.3)
        queue.put(os.getpid())
        return record(*positional, **named)

    first_use.record = slow
    first_use.record_entry(entry, quiet=True)


def test_two_processes_record_once(tiny, tmp_path):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    workers = [context.Process(target=record_slowly, args=(tiny, queue)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    queue.get(timeout=10)
    assert queue.empty()
    assert [path.name for path in (tmp_path / "cache" / "logs").glob("*.hdf5")] == [tiny.file]


def test_what_a_killed_recording_left_is_cleared(tiny, tmp_path):
    logs = tmp_path / "cache" / "logs"
    logs.mkdir(parents=True)
    left = logs / f".{tiny.file}.tmp-99999"
    left.write_text("half")
    first_use.record_entry(tiny, quiet=True)
    assert not left.exists()


def test_an_environment_that_is_not_installed_is_said_with_what_to_do(monkeypatch, gipo, tmp_path):
    import gymnasium

    def make(name):
        raise gymnasium.error.DependencyNotInstalled('MuJoCo is not installed, run `pip install "gymnasium[mujoco]"`')

    monkeypatch.setattr(gymnasium, "make", make)
    outcome = gipo("train", "--dataset", "walker2d-medium", "--out", tmp_path / "run")
    assert outcome.exit_code == 2
    assert outcome.stderr == (
        "gipo: walker2d-medium is recorded on first use, and Walker2d-v5 needs a package that is not installed (MuJoCo "
        'is not installed, run `pip install "gymnasium[mujoco]"`).\n'
        "      pip install 'gipo[mujoco]' brings the MuJoCo environments.\n"
    )
    assert not (tmp_path / "cache").exists() and not (tmp_path / "run").exists()


def test_a_cache_that_cannot_be_written_is_said(monkeypatch, tiny, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GIPO_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError) as refused:
        first_use.record_entry(tiny)
    assert refused.value.message == (
        f"{cache.cache_root()}/logs cannot be written (Not a directory), and tiny has to be recorded into it."
    )


def test_every_recipe_has_its_policies_and_a_fingerprint():
    del catalog.ENTRIES["tiny"]
    assert len(catalog.ENTRIES) == 10
    for entry in catalog.ENTRIES.values():
        for name in entry.recipe.policies:
            assert name == "random" or catalog.policy_file(name).is_file()
        assert entry.fingerprint.startswith("sha256:") and len(entry.fingerprint) == 71
    with pytest.raises(DataError, match=r"the policy none\.safetensors is missing from this installation"):
        catalog.policy_file("none.safetensors")


def test_every_log_has_a_card_with_its_fingerprint():
    cards = (Path(catalog.__file__).parents[2] / "datasets" / "README.md").read_text()
    del catalog.ENTRIES["tiny"]
    for entry in catalog.ENTRIES.values():
        assert f"[{entry.name}](#" in cards and entry.fingerprint in cards, entry.name


def test_the_name_of_an_entry_that_is_near_is_suggested():
    with pytest.raises(SettingError) as refused:
        catalog.locate("hopper-medum")
    assert refused.value.hint == "Did you mean 'hopper-medium'?"
