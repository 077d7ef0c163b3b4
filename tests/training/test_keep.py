"""`gipo train --keep N`: which checkpoints stay, also of a run that was stopped in between."""

import json
import shutil

import pytest

from gipo_cli import checkpoint_files
from gipo_cli.config import TrainConfig
from gipo_cli.errors import SettingError
from gipo_cli.runs import RunDirectory
from gipo_cli.training.state import older_checkpoints, remove_older

SETTINGS = (
    "--device", "cpu", "--steps", "50", "--set", "critic_steps=40", "--set", "report_every=5",
    "--set", "checkpoint_every=10", "--quiet",
)  # fmt: skip


def steps(run):
    return [checkpoint_files.step_of(path) for path in checkpoint_files.checkpoints_in(run)]


def make(run, step):
    return checkpoint_files.write(run.path, step, {"policy.safetensors": b"%d" % step, "state.json": b"{}"})


@pytest.fixture
def run(tmp_path):
    return RunDirectory.create(tmp_path / "run")


def test_the_newest_are_kept_and_step_0_and_those_that_a_stop_left_go_without_being_counted(run):
    config = TrainConfig(dataset="log", report_every=10, checkpoint_every=20, keep=2, steps=70)
    for step in (0, 20, 40, 50):  # 50: stopped there
        make(run, step)
        remove_older(config, run, step, last=False)
    assert steps(run.path) == [0, 20, 40, 50]
    make(run, 60)
    remove_older(config, run, 60, last=False)
    assert steps(run.path) == [0, 40, 60] == [0, *older_checkpoints(config, 70)]
    make(run, 70)
    remove_older(config, run, 70, last=True)
    assert steps(run.path) == [0, 60, 70]
    assert sorted(path.name for path in (run.path / "checkpoints").iterdir()) == [
        "step-00000000", "step-00000060", "step-00000070",
    ]  # fmt: skip


def test_all_are_kept_unless_asked(run):
    config = TrainConfig(dataset="log", report_every=10, checkpoint_every=20, steps=60)
    for step in (0, 20, 40, 60):
        make(run, step)
        remove_older(config, run, step, last=step == 60)
    assert steps(run.path) == [0, 20, 40, 60]


def test_what_is_not_gipos_stays_and_so_does_what_is_damaged(run):
    config = TrainConfig(dataset="log", report_every=10, checkpoint_every=10, keep=1, steps=40)
    for step in (0, 10, 20, 30):
        make(run, step)
    (run.path / "checkpoints/step-00000010/notes.txt").write_text("mine")
    (run.path / "checkpoints/step-mine").mkdir()
    (run.path / "checkpoints/step-00000020/state.json").write_text("damaged")
    remove_older(config, run, 30, last=False)
    assert steps(run.path) == [0, 10, 20, 30]
    assert (run.path / "checkpoints/step-mine").is_dir()
    assert (run.path / "checkpoints/step-00000010/notes.txt").read_text() == "mine"
    assert checkpoint_files.is_whole(run.path / "checkpoints/step-00000010")


def test_a_stopped_run_ends_with_the_same_checkpoints_and_bytes(gipo, cartpole_log, tmp_path):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    assert gipo("train", "--dataset", cartpole_log, "--out", whole, "--keep", 2, *SETTINGS).exit_code == 0
    assert steps(whole) == [0, 40, 50]
    shutil.copytree(whole, stopped)
    # Killed behind the checkpoint of step 40, before the one that it puts out of the row was gone.
    shutil.rmtree(stopped / "checkpoints/step-00000050")
    shutil.copytree(stopped / "checkpoints/step-00000040", stopped / "checkpoints/step-00000020")
    (stopped / "log_ratios.npz").unlink()
    assert gipo("train", "--resume", stopped, "--quiet").exit_code == 0
    assert steps(stopped) == steps(whole)
    for path in (*whole.glob("checkpoints/*/*"), whole / "metrics.jsonl", whole / "log_ratios.npz"):
        assert path.read_bytes() == (stopped / path.relative_to(whole)).read_bytes()
    assert json.loads((whole / "run.json").read_text())["certificate"]["level"] == pytest.approx(1 - 0.05 / 3)


def test_another_run_takes_its_start_from_one_that_keeps_few(gipo, cartpole_log, tmp_path):
    first = tmp_path / "first"
    assert gipo("train", "--dataset", cartpole_log, "--out", first, "--keep", 1, *SETTINGS).exit_code == 0
    assert steps(first) == [0, 50]
    again = ("--dataset", cartpole_log, "--out", tmp_path / "again", "--reuse", first, *SETTINGS)
    assert gipo("train", *again).exit_code == 0


def test_fewer_than_none_is_refused():
    with pytest.raises(SettingError) as raised:
        TrainConfig(dataset="log", keep=-1)
    assert raised.value.message == "keep is -1; expected a number 0 (all) or above."
