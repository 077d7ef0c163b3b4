"""`gipo evaluate --offline` on a run of CartPole, from its own log and from another."""

import json
import shutil

import pytest

from gipo_cli.cli import main
from gipo_cli.config import TrainConfig
from gipo_cli.data.options import LogOptions
from gipo_cli.evaluation import offline_run

OF_ROLLOUTS = "is of rollouts, and --offline makes none.\n      Leave one of the two out."
NAMES = ["drl", "fqe", "marginalised", "magic", "wdr", "dr", "wpdis", "pdis", "wis", "is", "truncated"]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """A few updates: what is learned is tested elsewhere."""
    monkeypatch.setattr(offline_run, "UPDATES", 30)


@pytest.fixture(scope="module")
def other_log(cartpole_policy, tmp_path_factory):
    """A log of the same policy that trained nothing."""
    path = tmp_path_factory.mktemp("other") / "other.hdf5"
    with pytest.raises(SystemExit) as exited:
        main(
            ["datasets", "record", "--environment", "CartPole-v1", "--policy", str(cartpole_policy), "--seed", "5",
             "--steps", "2000", "--environments", "4", "--out", str(path), "--quiet", "--json"]
        )  # fmt: skip
    assert not exited.value.code
    return path


def test_the_document_has_every_estimator_and_is_kept(gipo, quick_run):
    outcome = gipo("evaluate", quick_run, "--offline", "--json", "--quiet")
    assert outcome.exit_code == 0, outcome.stderr
    found = json.loads(outcome.stdout)
    assert list(found["offline"]["estimators"]) == NAMES
    assert found["dataset"]["trained_on"] and found["step"] == 40
    assert found["offline"]["discount"] == 0.997
    assert found["offline"]["verdict"] in ("better", "not better", "cannot be known")
    kept = json.loads((quick_run / "offline.json").read_text())
    assert kept == found
    assert gipo("evaluate", quick_run, "--offline", "--json", "--quiet").stdout == outcome.stdout


def test_another_log_answers_with_all_of_its_episodes(gipo, quick_run, other_log):
    outcome = gipo(
        "evaluate", quick_run, "--offline", "--dataset", other_log, "--level", "0.8", "--discount", "0.9", "--quiet"
    )
    assert outcome.exit_code == 0, outcome.stderr
    found = json.loads((quick_run / "offline.json").read_text())
    assert not found["dataset"]["trained_on"]
    assert (found["offline"]["level"], found["offline"]["discount"]) == (0.8, 0.9)
    episodes = json.loads(gipo("datasets", "info", other_log, "--json").stdout)["episodes"]
    assert found["offline"]["episodes"] == episodes
    lines = outcome.stdout.splitlines()
    assert lines[0] == (
        f"other: {episodes} episodes, each judged by what the other half taught; discounted return, gamma 0.9"
    )
    assert lines[-1].startswith("Verdict: ") and "at 80%" in lines[-1]
    assert max(map(len, lines)) <= 100


def test_a_setting_of_an_estimator(gipo, cartpole_log, other_log, tmp_path):
    run = tmp_path / "run"
    moved = ("--steps", "20", "--set", "critic_steps=20", "--set", "certify=false", "--set", "learning_rate=1e-2")
    assert gipo("train", "--dataset", cartpole_log, "--out", run, "--quiet", *moved).exit_code == 0
    values = []
    for steps in (1, 400):
        given = ("--offline", "--dataset", other_log, "--json", "--quiet", "--set", f"horizon={steps}")
        values.append(json.loads(gipo("evaluate", run, *given).stdout)["offline"]["estimators"])
    assert values[0]["truncated"] != values[1]["truncated"]
    assert values[0]["fqe"] == values[1]["fqe"]
    outcome = gipo("evaluate", run, "--offline", "--set", "horizn=3")
    assert outcome.exit_code == 2
    assert outcome.stderr.startswith("gipo: there is no setting of an estimator 'horizn'.")
    assert "horizon" in outcome.stderr


def test_a_gate_on_the_gain(gipo, quick_run, other_log):
    given = ("evaluate", quick_run, "--offline", "--dataset", other_log, "--quiet", "--json")
    outcome = gipo(*given, "--fail-if", "offline.verdict != better", "--fail-if", "offline.episodes < 5")
    assert outcome.exit_code == 4
    assert "offline.verdict" in outcome.stderr and "offline.episodes" not in outcome.stderr
    outcome = gipo(*given, "--fail-if", "offline.verdict == great")
    assert outcome.exit_code == 2
    assert "great" in outcome.stderr and "better" in outcome.stderr
    assert gipo(*given, "--fail-if", "offline.behaviour.lower < -1e9").exit_code == 0


def test_a_start_that_init_gave_is_compared_with(gipo, cartpole_log, cartpole_policy, tmp_path):
    run = tmp_path / "run"
    quick = ("--steps", "20", "--set", "critic_steps=20", "--set", "certify=false")
    trained = gipo("train", "--dataset", cartpole_log, "--init", cartpole_policy, "--out", run, "--quiet", *quick)
    assert trained.exit_code == 0, trained.stderr
    text = gipo("evaluate", run, "--offline", "--quiet").stdout
    found = json.loads((run / "offline.json").read_text())["offline"]["over_start"]
    assert f"Over the start of --init: {found['verdict']} at 95%" in text
    gate = ("--fail-if", "offline.over_start.gain.lower < -1e9", "--fail-if", "offline.over_start.verdict == worse")
    outcome = gipo("evaluate", run, "--offline", "--quiet", *gate)
    assert outcome.exit_code == 2 and "worse" in outcome.stderr
    # At its first step a run is its start.
    assert gipo("evaluate", run, "--offline", "--quiet", "--step", "0", "--json").exit_code == 0
    assert json.loads((run / "offline.json").read_text())["offline"]["over_start"] is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--offline", "--episodes", "5"), f"--episodes {OF_ROLLOUTS}"),
        (("--offline", "--environment", "CartPole-v1"), f"--environment {OF_ROLLOUTS}"),
        (("--level", "0.9"), "--level is of an estimate by a log.\n      Add --offline."),
        (
            ("--offline", "--set", "horizon"),
            "--set 'horizon' has no value.\n      Write --set NAME=VALUE, as in --set horizon=5.",
        ),
        (("--set", "horizon=2"), "--set is of an estimate by a log.\n      Add --offline."),
        (
            ("--offline", "--set", "horizon=1.5"),
            "horizon of the off-policy estimator 'truncated' is 1.5; expected a whole number of steps, 0 or above.",
        ),
        (("--dataset", "x"), "--dataset is of an estimate by a log.\n      Add --offline."),
        (("--offline", "--level", "95"), "--level is 95; expected a number from 0.5 to below 1.\n      Try 0.95."),
        (
            ("--offline", "--discount", "1"),
            "--discount is 1; expected a number from 0 to below 1.\n"
            "      Rewards that are never discounted have no finite sum where episodes are cut. Try 0.997.",
        ),
    ],
)
def test_flags_that_mean_nothing_together_are_refused(gipo, quick_run, given, message):
    outcome = gipo("evaluate", quick_run, *given)
    assert (outcome.exit_code, outcome.stdout) == (2, "")
    assert outcome.stderr == f"gipo: {message}\n"


def test_a_log_that_has_changed_since_is_refused(gipo, quick_run):
    record = json.loads((quick_run / "run.json").read_text())
    record["dataset"]["fingerprint"] = "sha256:0"
    (quick_run / "run.json").write_text(json.dumps(record))
    outcome = gipo("evaluate", quick_run, "--offline", "--quiet")
    assert outcome.exit_code == 3
    assert outcome.stderr.startswith(f"gipo: {quick_run} was trained on another log: fingerprint sha256:0, that of ")
    assert outcome.stderr.endswith("name one that trained nothing: --dataset LOG\n")
    assert not (quick_run / "offline.json").exists()


def test_another_log_is_read_as_it_is_and_not_mended_as_the_runs_was():
    config = TrainConfig("mine", behaviour="policy.zip", repair=("base2",), estimate_behaviour=False, log_prob_key="lp")
    assert offline_run._options(config, "mine") == config.log_options()
    assert offline_run._options(config, "other") == LogOptions(log_prob_key="lp")


def test_a_log_of_another_kind_is_refused(gipo, quick_run):
    outcome = gipo("evaluate", quick_run, "--offline", "--dataset", "hopper-medium", "--quiet")
    assert outcome.exit_code == 3
    assert outcome.stderr == (
        "gipo: the policy does not fit the log: it is categorical with 4 observations and 2 actions, "
        "the log tanh_gaussian with 11 and 3.\n"
        "      Name a log of a policy of the same kind: --dataset LOG\n"
    )


def test_what_is_not_there_is_refused(gipo, quick_run, tmp_path):
    assert gipo("evaluate", tmp_path / "none", "--offline").exit_code == 3
    outcome = gipo("evaluate", quick_run, "--offline", "--dataset", tmp_path / "none.hdf5", "--quiet")
    assert outcome.exit_code in (2, 3) and "none.hdf5" in outcome.stderr
    shutil.rmtree(quick_run / "checkpoints")
    outcome = gipo("evaluate", quick_run, "--offline", "--quiet")
    assert outcome.exit_code == 3
    assert outcome.stderr.startswith(f"gipo: {quick_run} has no whole checkpoint yet.")


def test_a_report_shows_it(gipo, quick_run, other_log):
    assert gipo("evaluate", quick_run, "--offline", "--dataset", other_log, "--quiet").exit_code == 0
    text = gipo("report", quick_run).stdout
    found = json.loads((quick_run / "offline.json").read_text())["offline"]
    assert "Is it better, by the log alone?" in text
    assert f"{found['verdict'].capitalize()} at 95%" in text
    assert "| behaviour |" in text
    outcome = gipo("report", quick_run, "--format", "json", "--fail-if", "offline.episodes > 1")
    assert outcome.exit_code == 4
    assert json.loads(outcome.stdout)["runs"][0]["offline"]["verdict"] == found["verdict"]
    kept = json.loads((quick_run / "offline.json").read_text())
    start = {"verdict": "not better", "reason": "of a test", "gain": kept["offline"]["gain"]}
    changed = {**kept, "log_probs": "estimated", "offline": {**kept["offline"], "over_start": start}}
    (quick_run / "offline.json").write_text(json.dumps(changed))
    text = gipo("report", quick_run).stdout
    assert "Over the start of --init: not better at 95%" in text and ": of a test." in text
    assert "The log-probs are estimated" in text
    (quick_run / "offline.json").write_text('{"a": 1}')
    assert gipo("report", quick_run).exit_code == 3
    (quick_run / "offline.json").write_text("[1]")
    outcome = gipo("report", quick_run)
    assert outcome.exit_code == 3
    assert outcome.stderr == (
        f"gipo: {quick_run}/offline.json is damaged: expected an object.\n"
        f"      Write it again with: gipo evaluate {quick_run} --offline\n"
    )
