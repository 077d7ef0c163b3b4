"""`gipo train --seeds`: what it refuses, and what it says of members that are not as it left them."""

import json
import os
import re
import resource
import shutil

import pytest

from gipo_cli.ensemble import command
from gipo_cli.locking import hold, release
from gipo_cli.runs import RunDirectory
from tests.ensemble.members import LISTS, NAMES, SETTINGS, command_of, everything, stopped

pytestmark = pytest.mark.usefixtures("short_first_fit")


def test_what_has_finished_answers_for_its_own_log_alone(gipo, cartpole_log, log_of_two_policies, ended, tmp_path):
    before, moved = everything(ended), shutil.copy(cartpole_log, tmp_path / "moved.hdf5")
    assert gipo(*command_of(moved, ended)).exit_code == 0
    another, none = gipo(*command_of(log_of_two_policies, ended)), gipo(*command_of(tmp_path / "none.hdf5", ended))
    assert (another.exit_code, none.exit_code) == (3, 3)
    assert another.stderr.startswith(f"gipo: {ended / NAMES[0]} was trained on another log: fingerprint sha256:")
    assert none.stderr.startswith(f"gipo: there is no file {tmp_path / 'none.hdf5'}.")
    assert everything(ended) == before


def test_damaged_weights_are_named_and_another_member_is_to_be_inspected(gipo, cartpole_log, ended):
    weights = ended / NAMES[0] / "log_ratios.npz"
    weights.write_bytes(b"no archive")
    outcome = gipo(*command_of(cartpole_log, ended))
    assert (outcome.exit_code, outcome.stderr) == (0, (
        f"warning: {weights} cannot be read: it is damaged. Delete it and write it again with: gipo train --resume "
        f"{ended / NAMES[0]}\n"
    ))  # fmt: skip
    assert outcome.stdout.splitlines()[-1] == f"Believe one?   gipo inspect-weights {ended / NAMES[1]}"


def test_on_other_threads_what_has_finished_answers(gipo, cartpole_log, ended):
    outcome = gipo(*command_of(cartpole_log, ended), "--set", "threads=2")
    assert (outcome.exit_code, outcome.stderr) == (0, "")


def test_what_is_in_the_way_is_named_before_anything_is_written(gipo, cartpole_log, ended, monkeypatch):
    command = ("train", "--dataset", cartpole_log, "--quiet", *SETTINGS)
    before = everything(ended)

    def said(*given):
        outcome = gipo(*command, *given)
        assert outcome.exit_code in (2, 3)
        return outcome.stderr

    run = ended / NAMES[0]
    assert said(*LISTS) == (
        "gipo: --seeds and a list of --sigma want --out, a directory for those of the members.\n"
        "      Name one, as in --out runs/ensemble.\n"
    )
    assert said(*LISTS, "--out", ended, "--steps", 50) == (
        f"gipo: {run} was begun with steps 40, and this command says 50.\n"
        "      Choose another --out; runs are never overwritten.\n"
    )
    assert said(*LISTS, "--out", run) == (
        f"gipo: {run} is a run, and not a directory of members.\n      Choose another --out.\n"
    )
    assert said(*LISTS, "--out", cartpole_log) == (
        f"gipo: the output directory {cartpole_log} is a file.\n      Choose another --out.\n"
    )
    alone = "Leave one of them out. One member alone is a run like any other: gipo train --resume DIR/MEMBER.\n"
    for flag, value in (("seed", 3), ("resume", run), ("reuse", run), ("log-to", "tensorboard")):
        assert said(*LISTS, "--out", ended / "new", f"--{flag}", value) == (
            f"gipo: --{flag} is for one run, and --seeds and a list of --sigma are for several.\n      {alone}"
        )
    assert said(*LISTS, "--out", ended / "new", "--objective", "trpo", "--set", "radius=0.01").startswith(
        "gipo: the objective 'trpo' has no setting 'sigma'."
    )
    assert said("--seeds", "0,1", "--out", ended / "new", "--objective", "trpo") == (
        "gipo: these members cannot be trained as one ensemble: the objective 'trpo' takes the natural gradient's "
        "step, a search of its own.\n"
        "      gipo batch JOBS.toml trains them one by one, with seed = [0, 1] in the [matrix] of its file.\n"
    )
    stopped_at = stopped(ended, {NAMES[1]: 20})
    before = everything(ended)
    lock = hold(stopped_at / NAMES[1] / "run.lock")
    assert said(*LISTS, "--out", ended) == (
        f"gipo: {ended / NAMES[1]} is being written by process {os.getpid()} on {os.uname().nodename}.\n"
        "      Wait for it.\n"
    )
    release(lock)
    changed = {path for path, found in everything(ended).items() if before.get(path, ("",))[0] != found[0]}
    assert changed <= {ended / NAMES[1] / "run.lock"}


@pytest.mark.parametrize("ended", [False, True])
def test_one_that_another_process_began_meanwhile_is_waited_for(gipo, cartpole_log, tmp_path, monkeypatch, ended):
    place, locks, open_log = tmp_path / "all" / NAMES[0], [], command.open_log

    def opened_while_another_begins(*given):
        RunDirectory.create(place).update(status="running")
        locks.append(hold(place / "run.lock"))
        if ended:
            release(locks[0])
        return open_log(*given)

    monkeypatch.setattr(command, "open_log", opened_while_another_begins)
    outcome = gipo(*command_of(cartpole_log, tmp_path / "all"))
    if ended:
        said = f"gipo: {place} was begun by another process since this one looked.\n      Go on: {command.AGAIN}\n"
    else:
        said = (
            f"gipo: {place} is being written by process {os.getpid()} on {os.uname().nodename}.\n      Wait for it.\n"
        )
        release(locks[0])
    assert (outcome.exit_code, outcome.stderr) == (3, said)
    assert json.loads((place / "run.json").read_text()) == {"status": "running"}
    assert [path.name for path in (tmp_path / "all").iterdir()] == [NAMES[0]]


def test_more_members_than_the_system_lets_files_be_open_are_refused(gipo, cartpole_log, tmp_path, monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (67, 67))
    monkeypatch.setattr(resource, "setrlimit", lambda kind, limits: None)
    outcome = gipo(*command_of(cartpole_log, tmp_path / "all"))
    assert (outcome.exit_code, outcome.stderr) == (2, (
        "gipo: 4 members want 68 files open at once, and this process may have 67 (ulimit -Hn).\n"
        "      Give fewer members, or have that limit raised.\n"
    ))  # fmt: skip
    assert not (tmp_path / "all").exists()


def test_a_batch_larger_than_the_rows_of_a_version_is_refused_before_anything(gipo, log_of_two_policies, tmp_path):
    command = ("train", "--dataset", log_of_two_policies, "--seeds", "0-1", "--out", tmp_path / "all", *SETTINGS)
    outcome = gipo(*command, "--set", "batch_size=2500")  # of 3,300 rows held in, 1,850 are of one version
    assert outcome.exit_code == 2
    assert re.search(r"seed-[01] trains on 1,\d{3} rows, fewer than a batch of 2,500", outcome.stderr)
    assert not (tmp_path / "all").exists()
