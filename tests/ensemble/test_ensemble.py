"""`gipo train --seeds`: every member is a run, and what happens to all of them happens to each."""

import json
import signal
import subprocess
import sys
import time

import pytest

from gipo_cli import durable
from gipo_cli.ensemble import fitting, starts
from gipo_cli.errors import DivergedError
from tests.ensemble.members import LISTS, NAMES, SETTINGS, command_of, everything, stopped

pytestmark = pytest.mark.usefixtures("short_first_fit")


def content(place):
    """Every byte of every member that must not depend on interruptions."""
    names = ("metrics.jsonl", "log_ratios.npz", "latest", "config.toml", "trained.safetensors", "checkpoints/step-*/*")
    files = sorted(path for name in names for path in place.glob(f"*/{name}"))
    return {str(path.relative_to(place)): path.read_bytes() for path in files}


def test_a_member_is_the_run_of_its_seed_and_sigma(gipo, cartpole_log, trained, tmp_path):
    member, alone = trained / "seed-1-sigma-2", tmp_path / "alone"
    outcome = gipo(
        "train", "--dataset", cartpole_log, "--seed", 1, "--sigma", 2, "--out", alone, *SETTINGS, "--quiet", "--json"
    )
    assert outcome.exit_code == 0, outcome.stderr
    assert {path.relative_to(member) for path in member.rglob("*")} == {
        path.relative_to(alone) for path in alone.rglob("*")
    }
    # Nothing is trained together before the first update.
    for name in ("config.toml", "behaviour.safetensors", "checkpoints/step-00000000/MANIFEST.json"):
        assert (member / name).read_bytes() == (alone / name).read_bytes()
    ours, theirs = (
        [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()] for run in (member, alone)
    )
    for mine, other in zip(ours, theirs, strict=True):
        # float32 sums in another order, over 40 updates.
        assert mine["held_out"] == pytest.approx(other["held_out"], rel=1e-4, abs=1e-5)
        assert (mine["loss"], mine["kl"]) == pytest.approx((other["loss"], other["kl"]), rel=1e-4, abs=1e-5)
    record, summary = json.loads((member / "run.json").read_text()), json.loads(outcome.stdout)
    assert {**summary, "seconds": 0, "run": 0}.keys() == {name: record[name] for name in summary}.keys()
    assert record["certificate"]["kept_step"] == summary["certificate"]["kept_step"]
    assert record["trained_together"] == 4


def test_the_other_commands_read_a_member_as_they_read_any_run(gipo, cartpole_log, ended):
    member = ended / "seed-0-sigma-2"
    assert json.loads(gipo("inspect-weights", member, "--json").stdout)["verdict"] in ("trust", "caution", "distrust")
    assert gipo("evaluate", member, "--episodes", "2", "--quiet").exit_code == 0
    assert "seed-0-sigma-2" in gipo("report", member).stdout
    compared = json.loads(gipo("compare", ended, "--json").stdout)
    assert {cell["method"]: cell["finished"] for cell in compared["logs"][0]["cells"]} == {
        "gipo sigma=0.5": 2,
        "gipo sigma=2": 2,
    }
    reused = gipo("train", "--dataset", cartpole_log, "--reuse", member, "--out", ended / "sapo", "--objective", "sapo",
                  *SETTINGS, "--quiet")  # fmt: skip
    assert reused.exit_code == 0, reused.stderr


def test_a_member_can_be_resumed_alone(gipo, ended, trained):
    stopped(ended, {"seed-0-sigma-2": 20})
    assert gipo("train", "--resume", ended / "seed-0-sigma-2", "--quiet").exit_code == 0
    ours, theirs = (json.loads((place / "seed-0-sigma-2/run.json").read_text()) for place in (ended, trained))
    assert ours["status"] == "finished"
    assert ours["held_out"] == pytest.approx(theirs["held_out"], rel=1e-4, abs=1e-5)  # as above


def test_start_and_advantages_are_computed_once_a_seed(gipo, cartpole_log, ended, monkeypatch):
    begun, begin = [], starts.begin
    monkeypatch.setattr(starts, "begin", lambda *given: begun.append(given[0].seed) or begin(*given))
    arguments = ("train", "--dataset", cartpole_log, *SETTINGS, "--quiet")
    assert gipo(*arguments, *LISTS, "--out", ended.parent / "again").exit_code == 0
    assert begun == [0, 1]
    assert content(ended.parent / "again") == content(ended)
    # A sigma more begins where the others did.
    assert gipo(*arguments, "--seeds", "0-1", "--sigma", "0.5,2,1", "--out", ended).exit_code == 0
    assert begun == [0, 1]
    assert {path.name for path in ended.iterdir()} == {*NAMES, "seed-0-sigma-1", "seed-1-sigma-1"}


@pytest.mark.parametrize(
    "steps",
    [
        dict.fromkeys(NAMES, 20),
        {"seed-0-sigma-0.5": 30, "seed-0-sigma-2": 20, "seed-1-sigma-0.5": 20, "seed-1-sigma-2": 20},
        {"seed-0-sigma-0.5": 40, "seed-0-sigma-2": 40, "seed-1-sigma-0.5": 10, "seed-1-sigma-2": 40},
        {"seed-1-sigma-0.5": 40, "seed-1-sigma-2": 40},  # the others have written their summaries
    ],
)
def test_from_wherever_a_kill_left_each_all_end_in_the_same_bytes(gipo, cartpole_log, trained, ended, steps):
    stopped(ended, steps)
    ahead = [name for name, step in steps.items() if step > min(steps.values())]
    written = [ended / name / "checkpoints" / f"step-{steps[name]:08d}" / "MANIFEST.json" for name in ahead]
    before = [path.stat().st_mtime_ns for path in written]
    outcome = gipo("train", "--dataset", cartpole_log, *LISTS, "--out", ended, *SETTINGS, "--quiet")
    assert outcome.exit_code == 0
    assert content(ended) == content(trained)
    notes = [line for line in outcome.stderr.splitlines() if line.startswith("note: ")]
    assert notes == [
        f"note: {name} is at step {steps[name]} already; all go on from step {min(steps.values())}, the newest they "
        "share."
        for name in ahead
    ]
    assert [path.stat().st_mtime_ns for path in written] == before


def gipo_process(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "gipo_cli", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_killed_while_they_train_they_end_in_the_same_bytes(gipo, cartpole_log, tmp_path):
    arguments = ("train", "--dataset", cartpole_log, "--seeds", "0-1", *SETTINGS, "--steps", "100", "--set",
                 "checkpoint_every=15", "--set", "critic_steps=10", "--advantage", "monte-carlo")  # fmt: skip
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert gipo(*arguments, "--out", whole, "--quiet").exit_code == 0
    last = killed / "seed-1" / "metrics.jsonl"
    with gipo_process(*arguments, "--out", killed, "--quiet") as process:
        while not last.exists() or last.read_bytes().count(b"\n") < 7:
            assert process.poll() is None, process.stderr.read()
            time.sleep(0.002)
        process.kill()
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert json.loads((killed / "seed-1" / "run.json").read_text())["status"] == "running"
    assert gipo(*arguments, "--out", killed, "--quiet").exit_code == 0
    assert content(killed) == content(whole)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_polite_signal_saves_every_member(gipo, cartpole_log, trained, tmp_path, monkeypatch, number, code):
    report = fitting.report

    def signalled(config, now, batch, sums):
        if now.step == 15 and (config.seed, config.settings["sigma"]) == (0, 2):
            signal.raise_signal(number)
        return report(config, now, batch, sums)

    with monkeypatch.context() as patch:
        patch.setattr(fitting, "report", signalled)
        outcome = gipo(*command_of(cartpole_log, tmp_path / "all"))
    assert (outcome.exit_code, outcome.stderr) == (code, (
        "gipo: interrupted at step 15 of 40; every member is saved.\n      Go on: give the same command again.\n"
    ))  # fmt: skip
    for name in NAMES:
        assert (tmp_path / "all" / name / "latest").read_text() == "step-00000015\n"
        assert json.loads((tmp_path / "all" / name / "run.json").read_text())["status"] == "interrupted"
    assert gipo(*command_of(cartpole_log, tmp_path / "all")).exit_code == 0
    # The stop left one checkpoint more; all that both have is the same.
    mine, theirs = content(tmp_path / "all"), content(trained)
    assert {name: mine[name] for name in theirs} == theirs


def test_a_full_disk_loses_nothing(gipo, cartpole_log, trained, tmp_path, monkeypatch):
    append = durable.append

    def full(path, line):
        if path.parent.name == NAMES[2] and b'"step": 25,' in line:
            raise durable.WriteFailed(28, "No space left on device", str(path))
        append(path, line)

    with monkeypatch.context() as patch:
        patch.setattr(durable, "append", full)
        outcome = gipo(*command_of(cartpole_log, tmp_path / "all"))
    assert (outcome.exit_code, outcome.stderr) == (3, (
        f"gipo: {tmp_path}/all cannot be written (No space left on device).\n"
        "      Free some space, then give the same command again.\n"
    ))  # fmt: skip
    for name in NAMES:
        assert json.loads((tmp_path / "all" / name / "run.json").read_text())["status"] == "failed"
    assert gipo(*command_of(cartpole_log, tmp_path / "all")).exit_code == 0
    assert content(tmp_path / "all") == content(trained)


def test_what_has_finished_answers_again_and_is_left_alone(gipo, cartpole_log, ended):
    before = everything(ended)
    log = ("train", "--dataset", cartpole_log, *LISTS, "--out", ended, *SETTINGS)
    outcome = gipo(*log)
    assert (outcome.exit_code, outcome.stderr) == (0, "")
    lines = outcome.stdout.splitlines()
    assert lines[1].split() == ["member", "status", "verdict", "certified", "ESS", "KL", "surrogate", "lower", "gates"]
    assert [line.split()[:2] for line in lines[2:6]] == [[name, "finished"] for name in NAMES]
    assert lines[7].startswith("4 members: 4 finished, ")
    document = json.loads(gipo(*log, "--json").stdout)
    assert (document["ensemble"], document["counts"]) == (str(ended), {"finished": 4})
    for member in document["members"]:
        record = json.loads((ended / member["member"] / "run.json").read_text())
        assert {name: member[name] for name in ("held_out", "certificate")} == {
            name: record[name] for name in ("held_out", "certificate")
        }
        assert member["verdict"] in ("trust", "caution", "distrust")
    assert everything(ended) == before


def test_a_gate_is_judged_for_every_member_and_one_that_fails_is_the_exit_code(gipo, cartpole_log, ended):
    command = ("train", "--dataset", cartpole_log, *LISTS, "--out", ended, *SETTINGS, "--json")
    kl = {m["member"]: m["held_out"]["kl"] for m in json.loads(gipo(*command).stdout)["members"]}
    low, high = sorted(kl, key=lambda name: kl[name])[:2], sorted(kl, key=lambda name: kl[name])[2:]
    bound = (kl[low[-1]] + kl[high[0]]) / 2
    outcome = gipo(*command, "--fail-if", f"held_out.kl > {bound}")
    failing = "\n".join(f"      {name}: held_out.kl > {bound}" for name in NAMES if name in high)
    assert outcome.exit_code == 4
    assert outcome.stderr == f"gipo: gates did not hold in 2 of 4 members.\n{failing}\n"
    gates = {m["member"]: m["gates"][0]["held"] for m in json.loads(outcome.stdout)["members"]}
    assert gates == {name: name in low for name in NAMES}
    # Kept in the runs, as of a single one.
    assert json.loads((ended / high[0] / "run.json").read_text())["gates"][0]["held"] is False
    held = gipo(*command, "--fail-if", "held_out.kl > 99")
    assert (held.exit_code, held.stderr) == (0, "every gate held in 4 members.\n")
    unknown = gipo(*command, "--fail-if", "held_out.kll > 1")
    assert (unknown.exit_code, "the result has no held_out.kll." in unknown.stderr) == (2, True)


def test_one_that_diverges_ends_alone_and_is_the_exit_code(gipo, cartpole_log, tmp_path, monkeypatch):
    report = fitting.report

    def diverging(config, now, batch, sums):
        if config.seed == 1 and now.step == 20:
            raise DivergedError("training met a number that is not finite.")
        return report(config, now, batch, sums)

    monkeypatch.setattr(fitting, "report", diverging)
    command = ("train", "--dataset", cartpole_log, "--seeds", "0-2", "--out", tmp_path / "all", *SETTINGS, "--quiet")
    outcome = gipo(*command, "--fail-if", "held_out.kl > -9")
    said = (
        "gipo: 1 of 3 members diverged.\n      seed-1: training met a number that is not finite.\n"
        f"      Each one's last checkpoint is whole; try again: gipo train --resume {tmp_path}/all/seed-1\n"
    )
    assert (outcome.exit_code, outcome.stderr) == (5, said)
    assert "seed-1  diverged" in outcome.stdout
    records = {n: json.loads((tmp_path / f"all/seed-{n}/run.json").read_text()) for n in range(3)}
    assert [records[n]["status"] for n in range(3)] == ["finished", "diverged", "finished"]
    assert sorted(path.name for path in (tmp_path / "all/seed-1/checkpoints").iterdir())[-1] == "step-00000010"
    before = everything(tmp_path / "all")
    again = gipo(*command, "--fail-if", "held_out.kl > -9")
    assert (again.exit_code, again.stderr) == (5, said)
    assert everything(tmp_path / "all") == before


def test_when_its_time_is_over_every_member_is_as_it_was_saved(gipo, cartpole_log, tmp_path):
    command = ("train", "--dataset", cartpole_log, "--seeds", "0-1", "--out", tmp_path / "all", *SETTINGS, "--json")
    outcome = gipo(*command, "--max-time", "1s", "--max-time-exit", 75, "--quiet", "--fail-if", "held_out.kl > 9")
    assert outcome.exit_code == 75
    assert outcome.stderr == (
        "gipo: --max-time 1s: stopped in the phase 'seed-0: advantages'; it begins again on resuming.\n"
        "      Go on: give the same command again.\n      The members have not ended: no gate was judged yet.\n"
    )
    document = json.loads(outcome.stdout)
    assert [(m["member"], m["status"], m["step"], m["steps"]) for m in document["members"]] == [
        ("seed-0", "interrupted", 0, 40), ("seed-1", "interrupted", 0, 40),
    ]  # fmt: skip
    assert gipo(*command, "--max-time", "1h", "--quiet").exit_code == 0


def test_when_time_is_over_those_that_ended_are_told_as_they_ended(gipo, cartpole_log, ended):
    record = ended / NAMES[1] / "run.json"
    record.write_text(json.dumps({**json.loads(record.read_text()), "status": "diverged", "error": "it diverged."}))
    command = ("train", "--dataset", cartpole_log, "--seeds", "0-2", "--sigma", "0.5,2", "--out", ended, *SETTINGS)
    outcome = gipo(*command, "--json", "--max-time", "1s", "--quiet")
    assert outcome.exit_code == 0
    document = json.loads(outcome.stdout)
    assert (document["status"], document["counts"]) == ("interrupted", {"finished": 3, "diverged": 1, "interrupted": 2})
    assert [(m["member"], m["status"], m["step"]) for m in document["members"]] == [
        (NAMES[0], "finished", 40), (NAMES[1], "diverged", 40), (NAMES[2], "finished", 40), (NAMES[3], "finished", 40),
        ("seed-2-sigma-0.5", "interrupted", 0), ("seed-2-sigma-2", "interrupted", 0),
    ]  # fmt: skip
    assert json.loads(record.read_text())["status"] == "diverged"


def test_a_dry_run_says_what_would_be_trained_and_writes_nothing(gipo, cartpole_log, ended):
    before = everything(ended)
    command = ("train", "--dataset", cartpole_log, "--seeds", "1-2", "--sigma", "2", "--out", ended, *SETTINGS)
    document = json.loads(gipo(*command, "--dry-run", "--json").stdout)
    assert [(m["member"], m["status"], m["step"], m["seed"], m["sigma"]) for m in document["members"]] == [
        ("seed-1-sigma-2", "finished", 40, 1, 2.0), ("seed-2-sigma-2", "new", 0, 2, 2.0),
    ]  # fmt: skip
    assert gipo(*command, "--dry-run").stdout.startswith("Would train on cartpole (")
    assert gipo(*command_of(cartpole_log, ended), "--dry-run").exit_code == 0  # where none is left
    of_one_seed = ("train", "--dataset", cartpole_log, "--seed", 5, "--sigma", "1,2", "--out", ended, "--dry-run")
    document = json.loads(gipo(*of_one_seed, "--json").stdout)
    assert [member["member"] for member in document["members"]] == ["seed-5-sigma-1", "seed-5-sigma-2"]
    assert everything(ended) == before
