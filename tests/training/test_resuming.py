"""`gipo train --resume`: what it takes for the same run, and what it says where it cannot go on."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from gipo_cli import durable
from gipo_cli.errors import SettingError
from gipo_cli.runs import RunDirectory

SETTINGS = (
    "--device", "cpu", "--steps", "40", "--set", "critic_steps=40", "--set", "report_every=5",
    "--set", "checkpoint_every=10",
)  # fmt: skip


@pytest.fixture(scope="module")
def log(cartpole_log, tmp_path_factory):
    """A copy of the log, so that it can be taken away."""
    return shutil.copy(cartpole_log, tmp_path_factory.mktemp("log") / "cartpole.hdf5")


@pytest.fixture(scope="module")
def finished(log, tmp_path_factory):
    """A run that has ended."""
    run = tmp_path_factory.mktemp("runs") / "run"
    done = subprocess.run(
        [sys.executable, "-m", "gipo_cli", "train", "--dataset", log, "--out", run, "--quiet", *SETTINGS],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return run


@pytest.fixture
def ended(finished, tmp_path):
    """A copy of it."""
    return shutil.copytree(finished, tmp_path / "run")


@pytest.fixture
def stopped(ended):
    """A copy that was killed after step 20."""
    for step in (30, 40):
        shutil.rmtree(ended / f"checkpoints/step-{step:08d}")
    (ended / "latest").write_text("step-00000020\n")
    (ended / "log_ratios.npz").unlink()
    change(ended, status="running")
    return ended


def change(run, **fields):
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**record, **fields}))


def content(run):
    files = [run / "metrics.jsonl", run / "log_ratios.npz", run / "latest", run / "config.toml"]
    files += sorted(run.glob("checkpoints/step-*/*"))
    return {str(path.relative_to(run)): path.read_bytes() for path in files}


def everything(run):
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in run.rglob("*") if path.is_file()}


def test_any_name_of_a_run_continues_it_to_the_same_bytes(gipo, finished, stopped):
    for name in ("", "checkpoints/step-00000020", "config.toml"):
        run = shutil.copytree(stopped, stopped.with_name("again"))
        outcome = gipo("train", "--resume", run / name, "--quiet")
        assert (outcome.exit_code, outcome.stderr) == (0, "")
        assert content(run) == content(finished)
        shutil.rmtree(run)


def test_a_checkpoint_that_is_not_the_newest_is_said_not_to_be(gipo, finished, stopped):
    outcome = gipo("train", "--resume", stopped / "checkpoints/step-00000010", "--quiet")
    assert (outcome.exit_code, outcome.stderr) == (0, (
        f"note: {stopped} goes on from step-00000020, the newest that is whole, not from step-00000010; "
        "from either it ends in the same bytes.\n"
    ))  # fmt: skip
    assert content(stopped) == content(finished)


def test_each_damaged_checkpoint_is_named(gipo, finished, stopped):
    for step in (10, 20):
        (stopped / f"checkpoints/step-{step:08d}/policy.safetensors").write_bytes(b"half")
    outcome = gipo("train", "--resume", stopped, "--quiet")
    assert (outcome.exit_code, outcome.stderr) == (0, (
        f"warning: {stopped}/checkpoints/step-00000020 is damaged; falling back to an older checkpoint.\n"
        f"warning: {stopped}/checkpoints/step-00000010 is damaged; falling back to an older checkpoint.\n"
    ))  # fmt: skip
    assert content(stopped) == content(finished)


def test_a_run_without_a_whole_checkpoint_is_trained_from_its_beginning(gipo, finished, stopped):
    for step in (0, 10, 20):
        (stopped / f"checkpoints/step-{step:08d}/state.json").unlink()
    outcome = gipo("train", "--resume", stopped, "--quiet")
    assert outcome.exit_code == 0
    assert outcome.stderr.splitlines()[-1] == (
        f"warning: {stopped} has no checkpoint that is whole; it is trained from its beginning."
    )
    assert content(stopped) == content(finished)


def test_a_finished_run_prints_its_summary_again_without_its_log_and_writes_nothing(gipo, finished, ended, log):
    before = everything(ended)
    os.rename(log, f"{log}.away")
    try:
        for form in ("--json", "--quiet"):
            outcome = gipo("train", "--resume", ended, form)
            assert (outcome.exit_code, outcome.stderr) == (0, "")
            assert "40" in outcome.stdout
        summary = json.loads(gipo("train", "--resume", ended, "--json").stdout)
    finally:
        os.rename(f"{log}.away", log)
    record = json.loads((ended / "run.json").read_text())
    assert (summary["run"], summary["status"], summary["steps"]) == (str(ended), "finished", 40)
    assert summary["certificate"] == record["certificate"] and "source" not in summary["dataset"]
    assert everything(ended) == before


def test_a_finished_run_answers_other_gates(gipo, ended):
    outcome = gipo("train", "--resume", ended, "--quiet", "--fail-if", "held_out.kl < 100")
    assert outcome.exit_code == 4
    record = json.loads((ended / "run.json").read_text())
    assert [gate["held"] for gate in record["gates"]] == [False]
    assert gipo("train", "--resume", ended, "--quiet").exit_code == 4  # the gates of the run, from now on


def test_resuming_a_finished_run_loads_no_torch(ended):
    code = (
        "import sys; from gipo_cli.cli import main\n"
        f"try: main(['train', '--resume', {str(ended)!r}, '--quiet'])\n"
        "except SystemExit as left: assert not left.code\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("lost", ["log_ratios.npz", "checkpoints/step-00000040/policy.safetensors", "metrics.jsonl"])
def test_a_finished_run_that_lost_something_makes_it_again(gipo, finished, ended, lost):
    if lost == "metrics.jsonl":
        (ended / lost).write_bytes(b"")
        shutil.rmtree(ended / "checkpoints")
    else:
        (ended / lost).unlink()
    assert gipo("train", "--resume", ended, "--quiet").exit_code == 0
    assert content(ended) == content(finished)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (("\nsteps = 40", "\nsteps = 80"), "steps was 40 and is 80"),
        (("sigma = 1.0", "sigma = 0.5"), "settings.sigma was 1.0 and is 0.5"),
        (("certify = true", "certify = false\nkl_target = 0.1"), None),
        (("certify = true", "certify = false"), "certify was true and is false"),
        (("hidden_sizes = [256, 256]", "hidden_sizes = [256]"), "hidden_sizes.1 was 256 and is not set"),
    ],
)
def test_an_edited_configuration_is_refused_by_what_was_edited(gipo, stopped, edit, said):
    place = stopped / "config.toml"
    assert edit[0] in place.read_text()
    place.write_text(place.read_text().replace(*edit))
    before = everything(stopped)
    outcome = gipo("train", "--resume", stopped)
    if said is None:  # not TOML: kl_target is in it twice
        assert outcome.exit_code == 3
        assert outcome.stderr.startswith(f"gipo: {place} cannot be read (Cannot overwrite a value")
        assert outcome.stderr.endswith(
            f"      Move it away: gipo train --resume {stopped} writes it again as the run began.\n"
        )
    else:
        assert (outcome.exit_code, outcome.stderr) == (3, (
            f"gipo: {place} was changed after the run began: {said}.\n"
            f"      Change it back, or start a new run with it: gipo train --config {place} --out NEW\n"
        ))  # fmt: skip
    assert everything(stopped) == before


def test_a_run_goes_on_with_other_threads(gipo, stopped):
    place = stopped / "config.toml"
    place.write_text(place.read_text().replace("threads = 0", "threads = 2"))
    assert gipo("train", "--resume", stopped, "--dry-run").exit_code == 0


def test_a_dry_run_of_resuming_says_from_where_and_changes_nothing(gipo, stopped, log):
    before = everything(stopped)
    outcome = gipo("train", "--resume", stopped, "--dry-run")
    assert outcome.exit_code == 0, outcome.stderr
    assert f"from step 20 of {stopped}." in " ".join(outcome.stdout.split())
    assert json.loads(gipo("train", "--resume", stopped, "--dry-run", "--json").stdout)["step"] == 20
    assert everything(stopped) == before
    os.rename(log, f"{log}.away")
    try:
        assert gipo("train", "--resume", stopped, "--dry-run").exit_code == 3
    finally:
        os.rename(f"{log}.away", log)


def test_a_dry_run_with_gates_writes_nothing_into_a_run_that_has_ended(gipo, ended):
    before = everything(ended)
    outcome = gipo("train", "--resume", ended, "--dry-run", "--quiet", "--fail-if", "held_out.kl < 100")
    assert outcome.exit_code == 4
    assert everything(ended) == before


def test_gates_are_judged_where_they_cannot_be_kept(gipo, ended, monkeypatch):
    def full(path, content):
        raise durable.WriteFailed(28, os.strerror(28), str(path))

    monkeypatch.setattr(durable, "write", full)
    outcome = gipo("train", "--resume", ended, "--json", "--fail-if", "held_out.kl < 100")
    assert outcome.exit_code == 4
    assert json.loads(outcome.stdout)["gates"][0]["held"] is False
    assert outcome.stderr.splitlines()[0] == (f"warning: {ended} cannot be written; its gates there stay as they were.")


@pytest.mark.parametrize("lines", [(), (0, 3), (0, 1, 2)])
def test_reports_that_are_gone_are_missed(gipo, stopped, lines):
    place = stopped / "metrics.jsonl"
    kept = place.read_bytes().splitlines(keepends=True)
    place.write_bytes(b"".join(kept[line] for line in lines))
    gone = next(step for line, step in enumerate((5, 10, 15, 20)) if line not in lines)
    outcome = gipo("train", "--resume", stopped, "--quiet")
    assert outcome.exit_code == 3
    assert outcome.stderr == (
        f"gipo: {place} has lost the report of step {gone}, and {3 - len(lines)} more up to step 20.\n"
        f"      Bring it back from a copy, or train again: gipo train --config {stopped}/config.toml --out NEW\n"
    )


def test_a_finished_run_without_reports_is_not_trained_over(gipo, ended):
    (ended / "metrics.jsonl").unlink()
    outcome = gipo("train", "--resume", ended, "--quiet")
    assert outcome.exit_code == 3
    assert outcome.stderr.startswith(f"gipo: {ended}/metrics.jsonl has lost the report of step 5, and 7 more")


def test_a_checkpoint_that_is_not_there_is_said_not_to_be(gipo, stopped):
    outcome = gipo("train", "--resume", stopped / "checkpoints/step-00000777", "--quiet")
    assert outcome.exit_code == 3
    assert outcome.stderr == (
        f"gipo: there is no checkpoint {stopped}/checkpoints/step-00000777.\n"
        f"      Go on from the newest: gipo train --resume {stopped}\n"
    )


def test_a_checkpoint_may_be_named_from_beside_it(gipo, finished, stopped, monkeypatch):
    monkeypatch.chdir(stopped / "checkpoints")
    assert gipo("train", "--resume", "step-00000020", "--quiet").exit_code == 0
    assert content(stopped) == content(finished)


def test_the_record_of_a_run_whose_process_was_told_to_go_or_met_a_bug_does_not_say_running(stopped):
    for error, status in ((SystemExit(143), "interrupted"), (KeyboardInterrupt(), "interrupted"),
                          (ZeroDivisionError("a bug"), "failed")):  # fmt: skip
        with pytest.raises(type(error)), RunDirectory.open(stopped) as run:
            run.update(status="running")
            raise error
        assert run.record()["status"] == status
    assert run.record()["error"] == "a bug"


def test_a_damaged_checkpoint_is_put_aside_beside_others_that_were(gipo, finished, stopped):
    (stopped / "checkpoints/.damaged-step-00000020-1").mkdir()
    (stopped / "checkpoints/step-00000020/state.json").write_text("damaged")
    (stopped / "checkpoints/.damaged-step-00000020-1/mine.txt").write_text("mine")
    assert gipo("train", "--resume", stopped, "--quiet").exit_code == 0
    assert (stopped / "checkpoints/.damaged-step-00000020-0/state.json").read_text() == "damaged"


def test_a_missing_configuration_is_written_again(gipo, finished, stopped):
    (stopped / "config.toml").unlink()
    outcome = gipo("train", "--resume", stopped, "--quiet", "--device", "auto")  # which is not how it began
    assert (outcome.exit_code, outcome.stderr) == (
        0,
        f"note: config.toml was missing from {stopped}; it is there again, as the run began.\n",
    )
    assert content(stopped) == content(finished)


def test_a_log_that_is_gone_is_said_to_be_and_where_it_was_and_one_that_moved_can_be_named(
    gipo, finished, stopped, log, tmp_path
):
    moved = tmp_path / "moved.hdf5"
    shutil.move(log, moved)
    try:
        outcome = gipo("train", "--resume", stopped)
        assert (outcome.exit_code, outcome.stderr) == (3, (
            f"gipo: the log of {stopped} is gone: it was {log}.\n"
            f"      Bring it back, or set dataset in {stopped}/config.toml to where it is now.\n"
        ))  # fmt: skip
        place = stopped / "config.toml"
        place.write_text(place.read_text().replace(str(log), str(moved)))
        assert gipo("train", "--resume", stopped, "--quiet").exit_code == 0
    finally:
        shutil.move(moved, log)
    mine, theirs = content(stopped), content(finished)
    assert mine.pop("config.toml") != theirs.pop("config.toml")
    assert mine == theirs


@pytest.mark.parametrize(
    ("version", "hint"),
    [
        (2, "A newer gipo made it: pip install --upgrade gipo"),
        (0, "Train it again: gipo train --config {run}/config.toml --out NEW"),
        (None, "Train it again: gipo train --config {run}/config.toml --out NEW"),
    ],
)
def test_a_run_of_another_format(gipo, stopped, version, hint):
    change(stopped, run_version=version)
    outcome = gipo("train", "--resume", stopped)
    assert (outcome.exit_code, outcome.stderr) == (3, (
        f"gipo: {stopped} is a run of format {version}; this version of gipo goes on with format 1.\n"
        f"      {hint.format(run=stopped)}\n"
    ))  # fmt: skip


def test_a_checkpoint_of_a_newer_format(gipo, stopped):
    from hashlib import sha256

    place = stopped / "checkpoints/step-00000020"
    state = (place / "state.json").read_text().replace('"checkpoint_version": 1', '"checkpoint_version": 2')
    manifest = json.loads((place / "MANIFEST.json").read_text())
    manifest["state.json"]["sha256"] = sha256(state.encode()).hexdigest()
    (place / "state.json").write_text(state)
    (place / "MANIFEST.json").write_text(json.dumps(manifest))
    outcome = gipo("train", "--resume", stopped, "--quiet")
    assert (outcome.exit_code, outcome.stderr) == (3, (
        f"gipo: {place} is a checkpoint of format 2; this version of gipo goes on with format 1.\n"
        "      A newer gipo made it: pip install --upgrade gipo\n"
    ))  # fmt: skip


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (None, "{run} has checkpoints, but no run.json, which says of what log they are."),
        ("{", "{run}/run.json cannot be read (Expecting property name enclosed in double quotes: "
              "line 1 column 2 (char 1))."),
        ("[]", "{run}/run.json is damaged: expected an object."),
    ],
)  # fmt: skip
def test_a_lost_record_says_what_can_be_done_with_the_checkpoints(gipo, stopped, record, said):
    (stopped / "run.json").unlink()
    if record is not None:
        (stopped / "run.json").write_text(record)
    outcome = gipo("train", "--resume", stopped)
    assert (outcome.exit_code, outcome.stderr) == (3, (
        f"gipo: {said.format(run=stopped)}\n"
        f"      Train it again: gipo train --config {stopped}/config.toml --out NEW\n"
        f"      Or start a new run from its policy: gipo train --init {stopped}/checkpoints/step-00000020\n"
    ))  # fmt: skip


def test_what_a_killed_process_left_is_removed_by_whoever_holds_the_lock_and_nothing_else(stopped):
    ours = [".run.json.tmp-12", ".metrics.jsonl.tmp-3", ".latest.tmp-77", ".trained.safetensors.tmp-1"]
    theirs = [
        ".notes.tmp-12",
        ".run.json.tmp-x",
        "run.json.tmp-12",
        ".run.json.tmp-12.bak",
        "thesis.txt",
        ".evaluation.json.tmp-9",
    ]  # an evaluation may be going on: it needs no lock
    for name in (*ours, *theirs):
        (stopped / name).write_text("mine")
    half, mixed = stopped / "checkpoints/.tmp-30-12", stopped / "checkpoints/.tmp-30-13"
    for place in (half, mixed, stopped / "checkpoints/.tmp-mine"):
        place.mkdir()
        (place / "policy.safetensors").write_bytes(b"half")
    (mixed / "notes.txt").write_text("mine")
    with RunDirectory.open(stopped):
        pass
    assert [name for name in ours if (stopped / name).exists()] == []
    assert all((stopped / name).read_text() == "mine" for name in theirs)
    assert not half.exists()
    assert [path.name for path in mixed.iterdir()] == ["notes.txt"]
    assert (stopped / "checkpoints/.tmp-mine/policy.safetensors").read_bytes() == b"half"


def test_a_run_killed_before_its_record_was_written_is_begun_again_over_what_it_left(tmp_path):
    for name in ("config.toml", "run.lock", ".config.toml.tmp-12", ".run.json.tmp-12"):
        (tmp_path / name).write_text("")
    with RunDirectory.create(tmp_path):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.toml", "run.lock"]
    (tmp_path / ".run.json.tmp-12.mine").write_text("")
    with pytest.raises(SettingError):
        RunDirectory.create(tmp_path)
