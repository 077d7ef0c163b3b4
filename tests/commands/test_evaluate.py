"""`gipo evaluate` on CartPole, where the return is the length."""

import json

import pytest


def test_the_document_has_both_policies_in_both_modes(gipo, quick_run):
    outcome = gipo("evaluate", quick_run, "--episodes", "6", "--json", "--quiet")
    assert outcome.exit_code == 0, outcome.stderr
    found = json.loads(outcome.stdout)
    assert found["environment"] == "CartPole-v1"
    for name in ("policy", "behaviour"):
        assert set(found[name]) == {"stochastic", "deterministic"}
        for figures in found[name].values():
            assert {"mean", "standard_error", "episodes", "score"} <= set(figures)
            assert figures["episodes"] == 6
            assert figures["mean"] == figures["mean_length"]  # CartPole pays 1 a step
            assert figures["score"] is None  # D4RL has no reference for it
    # Forty updates that were not certified: the starting policy, met by the same starts and the same noise.
    assert found["gain"]["mean"] == pytest.approx(
        found["policy"]["stochastic"]["mean"] - found["behaviour"]["stochastic"]["mean"]
    )
    assert gipo("evaluate", quick_run, "--episodes", "6", "--json", "--quiet").stdout == outcome.stdout


def test_a_log_that_names_no_environment_asks_for_one(gipo, quick_run):
    record = json.loads((quick_run / "run.json").read_text())
    record["dataset"]["environment"] = None
    (quick_run / "run.json").write_text(json.dumps(record))
    outcome = gipo("evaluate", quick_run)
    assert outcome.exit_code == 2
    assert outcome.stderr == (
        f"gipo: the log of {quick_run} names no environment.\n"
        f"      Name it: gipo evaluate {quick_run} --environment Hopper-v5\n"
    )
    assert gipo("evaluate", quick_run, "--environment", "CartPole-v1", "--episodes", "2").exit_code == 0


def test_another_environment_than_the_logs_is_refused(gipo, quick_run):
    outcome = gipo("evaluate", quick_run, "--environment", "Acrobot-v1")
    assert outcome.exit_code == 3
    assert outcome.stderr.startswith("gipo: the policy has 4 observations and 2 actions, the environment 6 and 3.\n")


@pytest.mark.parametrize("name", ["os:system", "NoSuch-v9", "../x"])
def test_a_name_that_is_no_environment_is_refused(gipo, quick_run, name):
    outcome = gipo("evaluate", quick_run, "--environment", name)
    assert outcome.exit_code == 2
    assert "Traceback" not in outcome.stderr


def test_what_is_no_run_is_refused(gipo, tmp_path):
    assert gipo("evaluate", tmp_path / "none").exit_code == 3
    assert gipo("evaluate", tmp_path).stderr.startswith(f"gipo: {tmp_path} is not a run: it has no run.json.")


def test_the_run_keeps_its_evaluation_with_every_episode(gipo, quick_run):
    outcome = gipo("evaluate", quick_run, "--episodes", "6", "--seed", "3", "--json", "--quiet")
    kept = json.loads((quick_run / "evaluation.json").read_text())
    assert (kept["step"], kept["seed"]) == (40, 3)
    for name in ("policy", "behaviour"):
        for figures in kept[name].values():
            assert len(figures["returns"]) == 6
            assert figures["returns"] == figures.pop("lengths")  # CartPole pays 1 a step
            assert figures["mean"] == pytest.approx(sum(figures.pop("returns")) / 6)
    assert kept == json.loads(outcome.stdout)  # which has no episodes in it


def test_a_later_evaluation_replaces_it_and_names_its_checkpoint(gipo, quick_run):
    assert gipo("evaluate", quick_run, "--episodes", "3", "--quiet").exit_code == 0
    assert gipo("evaluate", quick_run, "--episodes", "2", "--step", "10", "--quiet").exit_code == 0
    kept = json.loads((quick_run / "evaluation.json").read_text())
    assert kept["step"] == 10
    assert len(kept["policy"]["stochastic"]["returns"]) == 2


def test_an_evaluation_that_cannot_be_kept_is_printed_all_the_same(gipo, quick_run):
    (quick_run / "evaluation.json").mkdir()  # no file can take its place
    outcome = gipo("evaluate", quick_run, "--episodes", "2", "--json", "--quiet")
    assert outcome.exit_code == 0
    assert json.loads(outcome.stdout)["step"] == 40
    assert outcome.stderr == (
        f"warning: evaluation.json could not be kept in {quick_run} (Is a directory); "
        "other commands will not find it.\n"
    )
