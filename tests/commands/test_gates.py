"""--fail-if, command by command: exit codes, what is printed, and what is refused before any work."""

import json

import pytest

from gipo_cli.gates import flatten
from gipo_cli.summary import SUMMARY_KINDS

QUICK = ("--steps", "10", "--set", "critic_steps=10", "--set", "report_every=5", "--quiet", "--device", "cpu")


def document(outcome):
    return json.loads(outcome.stdout)


def test_training_that_misses_a_gate_is_kept_whole_and_exits_with_4(gipo, cartpole_log, tmp_path):
    run = tmp_path / "run"
    expressions = ("held_out.kl > 5", "held_out.ess_fraction > 0.5", "status != finished")
    gates = [part for expression in expressions for part in ("--fail-if", expression)]
    outcome = gipo("train", "--dataset", cartpole_log, "--out", run, "--json", *QUICK, *gates)
    assert outcome.exit_code == 4
    assert "gipo: 1 of 3 gates did not hold." in outcome.stderr
    judged = document(outcome)["gates"]
    assert [gate["held"] for gate in judged] == [True, False, True]
    assert judged[1]["key"] == "held_out.ess_fraction"
    record = json.loads((run / "run.json").read_text())
    assert (record["status"], record["gates"]) == ("finished", judged)
    # The run is finished: to look at it again under other gates trains nothing.
    outcome = gipo("train", "--resume", run, "--quiet", "--fail-if", "held_out.kl > 5")
    assert (outcome.exit_code, "1 gate held." in outcome.stderr) == (0, True)


def test_a_mistyped_gate_costs_no_training(gipo, cartpole_log, tmp_path):
    arguments = ("train", "--dataset", cartpole_log, "--out", tmp_path / "run", *QUICK)
    outcome = gipo(*arguments, "--fail-if", "held_out.es_fraction < 0.3")
    assert outcome.exit_code == 2
    assert "the result has no held_out.es_fraction.\n      Did you mean held_out.ess_fraction" in outcome.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("advantage", ["path-consistency", "gae"])
def test_the_keys_of_a_summary_are_known_before_training(gipo, cartpole_log, tmp_path, advantage):
    arguments = ("train", "--dataset", cartpole_log, "--out", tmp_path / "run", "--advantage", advantage, *QUICK)
    found = flatten(document(gipo(*arguments, "--json")))
    ours = {key: value for key, value in found.items() if not key.startswith(("settings.", "advantage_settings."))}
    assert set(ours) == set(SUMMARY_KINDS)
    for key, value in ours.items():
        kind = type(value) if isinstance(value, bool | str) else float
        assert value is None or kind is SUMMARY_KINDS[key], key


def test_the_other_commands(gipo, cartpole_log, quick_run, tmp_path):
    cases = [
        (("inspect-weights", quick_run), "held_out.raw.ess_fraction < 0.01", "held_out.raw.ess_fraction < 1.01"),
        (("inspect-weights", quick_run), "findings.kl.level == alarm", "findings.kl.level != alarm"),
        (("evaluate", quick_run, "--episodes", "2", "--quiet"), "policy.stochastic.mean < 0", "gain.lower < 1e9"),
        (
            ("compare", quick_run, "--quiet"),
            "kl > 100",
            "logs.cartpole.cells.gipo.score.lower < 0",
        ),  # CartPole has no score
        (("datasets", "check", cartpole_log, "--quiet"), "errors > 0", "findings.log-probs.value < 2"),
    ]
    for command, holds, fails in cases:
        outcome = gipo(*command, "--fail-if", holds)
        assert (outcome.exit_code, "1 gate held." in outcome.stderr) == (0, True), (command, outcome.stderr)
        outcome = gipo(*command, "--json", "--fail-if", holds, "--fail-if", fails)
        assert (outcome.exit_code, "1 of 2 gates did not hold." in outcome.stderr) == (4, True), outcome.stderr
        assert [gate["held"] for gate in document(outcome)["gates"]] == [True, False]
        outcome = gipo(*command, "--fail-if", "errorz > 0")
        assert (outcome.exit_code, "the result has no errorz." in outcome.stderr) == (2, True)
        assert "gates" not in document(gipo(*command, "--json"))


def test_a_bad_log_is_bad_data_whatever_the_gates_say(gipo, cartpole_log, tmp_path):
    import h5py

    path = tmp_path / "spoiled.hdf5"
    path.write_bytes(cartpole_log.read_bytes())
    with h5py.File(path, "r+") as file:
        file["infos/action_log_probs"][:] = 0.5
    assert gipo("datasets", "check", path, "--quiet", "--fail-if", "errors > 0").exit_code == 3


@pytest.mark.parametrize("gate", ["certificate.certified < 0.5", "status > 1", "certificate.certified == no"])
def test_a_gate_of_another_kind_costs_no_training(gipo, cartpole_log, tmp_path, gate):
    outcome = gipo("train", "--dataset", cartpole_log, "--out", tmp_path / "run", *QUICK, "--fail-if", gate)
    assert (outcome.exit_code, (tmp_path / "run").exists()) == (2, False)


def test_a_result_is_printed_before_a_gate_on_it_is_refused(gipo, quick_run):
    outcome = gipo("evaluate", quick_run, "--episodes", "2", "--quiet", "--json", "--fail-if", "gain.lowr < 0")
    assert (outcome.exit_code, "the result has no gain.lowr" in outcome.stderr) == (2, True)
    assert document(outcome)["policy"]["stochastic"]["episodes"] == 2


def test_being_stopped_lifts_no_gate_and_new_ones_replace_old_ones(gipo, cartpole_log, tmp_path):
    run = tmp_path / "run"
    arguments = ("train", "--dataset", cartpole_log, "--out", run, *QUICK, "--fail-if", "steps > 0")
    assert gipo(*arguments).exit_code == 4
    outcome = gipo("train", "--resume", run, "--quiet")
    assert (outcome.exit_code, "steps is 10: --fail-if 'steps > 0'" in outcome.stderr) == (4, True)
    assert gipo("train", "--resume", run, "--quiet", "--fail-if", "steps > 10").exit_code == 0
    assert [gate["held"] for gate in json.loads((run / "run.json").read_text())["gates"]] == [True]


def test_a_dry_run_says_that_it_judges_nothing(gipo, cartpole_log, tmp_path):
    arguments = ("train", "--dataset", cartpole_log, "--out", tmp_path / "run", *QUICK, "--dry-run")
    outcome = gipo(*arguments, "--fail-if", "steps > 0")
    assert (outcome.exit_code, "a dry run has nothing to judge by them" in outcome.stderr) == (0, True)
