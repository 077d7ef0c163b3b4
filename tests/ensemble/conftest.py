"""What tests of `gipo train --seeds` share: members that have finished."""

import shutil
from contextlib import contextmanager

import pytest

from gipo_cli.advantages import path_consistency
from tests.ensemble.members import LISTS, NAMES, SETTINGS


@contextmanager
def first_fit_cut_short():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(path_consistency, "START_FIT_STEPS", 5)
        yield


@pytest.fixture(scope="module")
def short_first_fit():
    """Of the advantages, in this process: every module that trains asks for it."""
    with first_fit_cut_short():
        yield


@pytest.fixture(scope="session")
def trained(cartpole_log, tmp_path_factory):
    """Four members that have finished, which no test may change."""
    from gipo_cli.cli import main

    place = tmp_path_factory.mktemp("ensemble") / "all"
    with first_fit_cut_short(), pytest.raises(SystemExit) as exited:
        main(["train", "--dataset", str(cartpole_log), *LISTS, "--out", str(place), *SETTINGS, "--quiet"])
    assert not exited.value.code
    return place


@pytest.fixture
def ended(trained, tmp_path):
    """A test's own copy."""
    place = shutil.copytree(trained, tmp_path / "all")
    for name in NAMES:
        record = place / name / "run.json"
        record.write_text(record.read_text().replace(str(trained), str(place)))
    return place


@pytest.fixture(scope="session")
def log_of_two_policies(cartpole_policy, tmp_path_factory):
    """A log of another fingerprint, which names two versions and carries no weights."""
    from gipo_cli.cli import main

    ladder = tmp_path_factory.mktemp("ladder")
    for number in (1, 2):
        shutil.copy(cartpole_policy, ladder / f"p{number}.safetensors")
    with pytest.raises(SystemExit) as exited:
        main(
            ["datasets", "record", "--environment", "CartPole-v1", "--policies", str(ladder), "--steps", "2000",
             "--out", str(ladder / "log.hdf5"), "--quiet", "--json"]
        )  # fmt: skip
    assert not exited.value.code
    return ladder / "log.hdf5"
