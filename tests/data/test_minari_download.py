"""Minari's remotes: its own download into a place aside; nothing that comes is loaded."""

import json
import os
from pathlib import Path

import minari
import pytest

from gipo_cli.data.minari_download import STAGE, download
from gipo_cli.errors import DataError, SettingError

NAME = "lab/own-v0"


@pytest.fixture
def remote(tmp_path, monkeypatch):
    """Stand in for Minari's download, which needs the network: it writes what a remote would send."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    calls = []

    def fake(dataset_id, force_download):
        calls.append(force_download)
        root = Path(os.environ["MINARI_DATASETS_PATH"])
        for name in (dataset_id, "lab/part-v0"):
            (root / name / "data").mkdir(parents=True, exist_ok=True)
            hostile = json.dumps({"id": "x", "entry_point": "os:abort", "kwargs": {}})
            (root / name / "data/metadata.json").write_text(json.dumps({"data_format": "hdf5", "env_spec": hostile}))
        (root / "lab/namespace_metadata.json").write_text("{}")
        print("Downloading from Farama servers...")

    monkeypatch.setattr(minari, "download_dataset", fake)
    return calls


def test_a_dataset_and_those_it_is_made_of_land_where_minari_keeps_them(gipo, remote, tmp_path):
    outcome = gipo("datasets", "fetch", f"minari:{NAME}", "--json")
    assert outcome.exit_code == 0, outcome.stderr
    assert json.loads(outcome.stdout)["place"] == str(tmp_path / NAME)  # Minari's own prints went to stderr
    assert "Downloading" in outcome.stderr
    for place in (NAME, "lab/part-v0"):
        assert (tmp_path / place / "data/metadata.json").is_file()
    assert (tmp_path / "lab/namespace_metadata.json").is_file()
    assert not (tmp_path / STAGE).exists()
    assert os.environ["MINARI_DATASETS_PATH"] == str(tmp_path)
    assert gipo("datasets", "fetch", f"minari:{NAME}").exit_code == 0
    assert len(remote) == 1


def test_what_is_there_is_not_replaced(remote, tmp_path):
    mine = tmp_path / "lab/part-v0/data/mine"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    download(NAME)
    assert mine.read_text() == "mine"
    assert [path.name for path in mine.parent.iterdir()] == ["mine"]


def test_a_download_that_breaks_off_is_not_taken_for_a_dataset(gipo, remote, tmp_path, monkeypatch):
    whole = minari.download_dataset

    def broken(dataset_id, force_download):
        (Path(os.environ["MINARI_DATASETS_PATH"]) / dataset_id / "data").mkdir(parents=True)
        raise ConnectionError("no route to host")

    monkeypatch.setattr(minari, "download_dataset", broken)
    outcome = gipo("datasets", "fetch", f"minari:{NAME}")
    assert outcome.exit_code == 3
    assert outcome.stderr == (
        f"gipo: minari cannot download {NAME} (ConnectionError: no route to host).\n"
        f"      With no network here: `minari download {NAME}` elsewhere, and copy its directory to "
        f"{tmp_path}/{NAME}.\n"
    )
    assert not (tmp_path / NAME).exists()
    monkeypatch.setattr(minari, "download_dataset", whole)
    assert download(NAME) == tmp_path / NAME


@pytest.mark.parametrize("after", ["lab/other-v0", NAME])
def test_what_broke_off_is_not_published_with_what_comes_later(remote, tmp_path, monkeypatch, after):
    whole = minari.download_dataset

    def broken(dataset_id, force_download):
        for name in (dataset_id, "lab/half-v0"):
            (Path(os.environ["MINARI_DATASETS_PATH"]) / name / "data").mkdir(parents=True)
        raise ConnectionError("no route to host")

    monkeypatch.setattr(minari, "download_dataset", broken)
    with pytest.raises(DataError, match="cannot download"):
        download(NAME)
    monkeypatch.setattr(minari, "download_dataset", whole)
    assert download(after) == tmp_path / after
    assert sorted(path.name for path in (tmp_path / "lab").iterdir()) == [
        "namespace_metadata.json", after.removeprefix("lab/"), "part-v0",
    ]  # fmt: skip


def test_two_processes_do_not_fetch_the_same(remote, tmp_path, monkeypatch):
    def meanwhile(dataset_id, force_download):
        monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))  # another process has its own
        with pytest.raises(DataError, match=f"^another process is fetching {NAME}"):
            download(NAME)

    monkeypatch.setattr(minari, "download_dataset", meanwhile)
    with pytest.raises(DataError, match="brought no data"):
        download(NAME)
    assert not (tmp_path / STAGE).exists()


def test_without_the_library_that_downloads_the_extra_is_named(remote, monkeypatch):
    def missing(dataset_id, force_download):
        raise ImportError("huggingface_hub is not installed")

    monkeypatch.setattr(minari, "download_dataset", missing)
    with pytest.raises(SettingError, match="huggingface_hub is not installed") as refused:
        download(NAME)
    assert refused.value.hint == 'pip install "minari[hf]"'


def test_a_remote_that_sends_nothing_is_an_error(remote, monkeypatch):
    monkeypatch.setattr(minari, "download_dataset", lambda dataset_id, force_download: None)
    with pytest.raises(DataError, match=f"minari's download of {NAME} brought no data"):
        download(NAME)


@pytest.mark.parametrize("name", ["../own-v0", "hf://somebody/own-v0", "own", ""])
def test_a_name_that_is_none_of_minaris_is_refused(remote, name):
    with pytest.raises(SettingError, match="is not the name of a Minari dataset"):
        download(name)
    assert remote == []
