"""Log-probs that cannot be right."""

import shutil

import h5py
import numpy as np
import pytest

from gipo_cli.data import catalog
from gipo_cli.errors import DataError, SettingError
from gipo_cli.logs import open_log


def spoil(log, tmp_path, change):
    path = tmp_path / "spoiled.hdf5"
    shutil.copy(log, path)
    with h5py.File(path, "r+") as file:
        file["infos/action_log_probs"][:] = change(file["infos/action_log_probs"][:])
    return str(path)


def test_a_clean_recording_raises_nothing(cartpole_log):
    assert open_log(str(cartpole_log)).findings == []


def test_probabilities_stored_in_place_of_logs_are_refused(cartpole_log, tmp_path):
    with pytest.raises(DataError, match="a natural log of a probability is 0 or below") as refused:
        open_log(spoil(cartpole_log, tmp_path, np.exp))
    assert refused.value.hint == "Were probabilities stored in place of their logs?"


@pytest.mark.parametrize("change", [lambda x: np.roll(x, 1), lambda x: x / np.log(10), lambda x: x - 0.5])
def test_log_probs_of_another_policy_step_or_base_are_refused(cartpole_log, tmp_path, change):
    with pytest.raises(DataError, match="its log-probs are not those of the policy it carries"):
        open_log(spoil(cartpole_log, tmp_path, change))


def test_constant_log_probs_are_a_warning(d4rl):
    findings = open_log(str(d4rl(infos__action_log_probs=np.full(12, -0.69)))).findings
    assert [finding.name for finding in findings] == ["constant log-probs"]


def test_log_probs_per_dimension_are_refused_with_the_way_to_the_joint_one(d4rl):
    with pytest.raises(DataError, match=r"the log-probs have shape \[12, 3\]") as refused:
        open_log(str(d4rl(infos__action_log_probs=np.zeros((12, 3)))))
    assert "store their sum" in refused.value.hint


def test_names_and_paths_are_told_apart():
    with pytest.raises(SettingError, match="there is no dataset 'hoper-medium'") as refused:
        catalog.load("hoper-medium")
    assert refused.value.hint == "Did you mean 'hopper-medium'?"
    with pytest.raises(DataError, match=r"there is no file somewhere/else"):
        catalog.load("somewhere/else")
