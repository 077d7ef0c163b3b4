"""`gipo compare` on runs written by hand, and on a real one."""

import json
import math

import numpy as np
import pytest

from gipo_cli.config import TrainConfig
from gipo_cli.runs import RunDirectory

SPREAD = np.array([-1.0, -0.5, 0.0, 0.5, 1.0])  # what episodes earn beside their mean


def figures(mean, episodes=20):
    returns = [mean + 10 * float(SPREAD[i % len(SPREAD)]) for i in range(episodes)]
    return {"returns": returns, "lengths": [100] * episodes}


def evaluate(run, mean, behaviour, environment="Hopper-v5", step=2000):
    policies = {"policy": mean, "behaviour": behaviour}
    modes = {
        name: None if at is None else {"stochastic": figures(at), "deterministic": figures(at + 50)}
        for name, at in policies.items()
    }
    run.write_evaluation({"run": str(run.path), "environment": environment, "step": step, "seed": 0, **modes})


def make_run(path, mean=1500.0, *, seed=0, log="hopper-medium", fingerprint=None, status="finished", behaviour=1000.0,
             environment="Hopper-v5", evaluated=True, step=2000, kept="trained policy", **config):  # fmt: skip
    """A run as `train` and `evaluate` leave it, less its checkpoints."""
    run = RunDirectory.create(path)
    settled = TrainConfig(dataset=log, seed=seed, **{"settings": {"sigma": 1.0}, **config})
    run.write_config(settled.to_dict())
    dataset = {"name": log, "fingerprint": fingerprint or f"sha256:{log.encode().hex():0<64}", "transitions": 1000,
               "episodes": 10, "mean_return": 1010.0, "environment": environment, "log_probs": "recorded"}  # fmt: skip
    run.update(dataset=dataset, seed=seed, status=status, command=["gipo", "train"])
    if status == "finished":
        run.update(steps=2000, seconds=50.0, held_out={"ess_fraction": 0.4, "kl": 0.5, "surrogate": 0.6},
                   certificate={"kept": kept})  # fmt: skip
        if evaluated:
            evaluate(run, mean, behaviour, environment, step)
    return path


@pytest.fixture
def seeds(tmp_path):
    """Two methods, three seeds each, on one log; gipo earns 2000, ppo-clip 1500, 10 apart from seed to seed."""
    for seed in range(3):
        make_run(tmp_path / f"gipo-{seed}", 2000.0 + 10 * seed, seed=seed)
        make_run(
            tmp_path / f"ppo-{seed}", 1500.0 + 10 * seed, seed=seed, objective="ppo-clip", settings={"epsilon": 0.2}
        )
    return tmp_path


def compared(gipo, *arguments):
    outcome = gipo("compare", *arguments, "--json")
    assert outcome.exit_code == 0, outcome.stderr
    return json.loads(outcome.stdout)


def test_seeds_fall_together_and_a_cell_is_what_a_person_computes(gipo, seeds):
    found = compared(gipo, seeds)
    assert found["methods"] == ["gipo", "ppo-clip"]
    (log,) = found["logs"]
    assert log["behaviour"]["stochastic"]["mean"] == pytest.approx(1000)
    cell = log["cells"][0]
    # Means 2000, 2010, 2020: standard deviation 10, and t(0.975, 2) = 4.302653.
    half = 4.302653 * 10 / math.sqrt(3)
    assert cell["seeds"] == [0, 1, 2]
    assert cell["stochastic"]["mean"] == pytest.approx(2010)
    assert cell["stochastic"]["upper"] - 2010 == pytest.approx(half, rel=1e-6)
    assert cell["deterministic"] == pytest.approx(2060)
    assert cell["score"]["mean"] == pytest.approx(100 * (2010 + 20.272305) / (3234.3 + 20.272305))
    assert cell["gain"]["mean"] == pytest.approx(1010)
    shown = [cell[name] for name in ("ess_fraction", "kl", "seconds", "updates_per_second")]
    assert shown == pytest.approx([0.4, 0.5, 50, 40])
    assert cell["kept"] == {"trained": 3, "starting": 0}


def test_over_logs_only_scored_ones_that_every_method_has_are_added_up(gipo, seeds):
    for seed in range(3):
        make_run(seeds / f"pole-{seed}", 90.0, seed=seed, log="pole", environment="CartPole-v1")
        make_run(seeds / f"walker-{seed}", 900.0, seed=seed, log="walker", environment="Walker2d-v5")
    found = compared(gipo, seeds, "--baseline", "ppo-clip")
    assert found["aggregate"]["logs"] == ["hopper-medium"]
    assert found["aggregate"]["left_out"] == {
        "pole": "D4RL has no score for its environment, and returns of different logs have no common scale",
        "walker": "it has no evaluated run of ppo-clip",
    }
    assert found["aggregate"]["methods"][0]["iqm"]["value"] == pytest.approx(100 * 2030.272305 / 3254.572305)
    (row,) = found["improvement"]["methods"]
    assert (row["method"], row["logs"], row["probability"]["value"]) == ("gipo", 1, 1.0)


def test_a_setting_that_differs_is_in_the_name_of_the_method(gipo, seeds):
    make_run(seeds / "narrow", seed=0, settings={"sigma": 0.5})
    assert set(compared(gipo, seeds)["methods"]) == {"gipo sigma=1", "gipo sigma=0.5", "ppo-clip"}
    found = compared(gipo, seeds, "--by", "objective")
    assert found["methods"] == ["gipo", "ppo-clip"]
    assert (
        "'gipo' on hopper-medium holds runs of one seed that differ in sigma; each counts as a seed of its own."
        in (found["notes"])
    )


def test_a_directory_a_glob_and_names_give_the_same(gipo, seeds):
    (seeds / "notes.md").write_text("no run")
    by_directory = compared(gipo, seeds)
    assert compared(gipo, seeds / "*") == by_directory
    assert compared(gipo, *(seeds / f"{name}-{s}" for name in ("gipo", "ppo") for s in range(3))) == by_directory


def test_unfinished_runs_and_older_checkpoints_are_shown_and_left_out(gipo, seeds):
    make_run(seeds / "bad", seed=7, status="diverged")
    make_run(seeds / "old", 9999.0, seed=8, step=500)
    make_run(seeds / "new", seed=9, evaluated=False)
    outcome = gipo("compare", seeds)
    assert outcome.exit_code == 0
    assert "3 of 5 (1 diverged)" in outcome.stdout
    assert outcome.stderr.splitlines()[:4] == [
        f"note: {seeds}/bad is diverged: left out. Train it anew with a smaller learning rate.",
        f"note: {seeds}/old was evaluated at step 500, its last checkpoint is step 2000: left out. Evaluate that: "
        f"gipo evaluate {seeds}/old",
        "note: what diverged is in no mean: the figures of its method are of the seeds that survived.",
        f"note: {seeds}/new is not evaluated yet: gipo evaluate {seeds}/new, or add --evaluate for all.",
    ]
    assert compared(gipo, seeds)["logs"][0]["cells"][0]["stochastic"]["mean"] == pytest.approx(2010)


def test_one_seed_has_no_interval_over_seeds(gipo, tmp_path):
    make_run(tmp_path / "one", 1500.0)
    cell = compared(gipo, tmp_path / "one")["logs"][0]["cells"][0]
    assert (cell["stochastic"]["lower"], cell["stochastic"]["over"]) == (None, "episodes")
    # 20 episodes, four of each of 10 times SPREAD: variance 20 * 50 / 19.
    assert cell["stochastic"]["standard_error"] == pytest.approx(math.sqrt(20 * 50 / 19 / 20))
    found = compared(gipo, tmp_path / "one")
    assert found["aggregate"]["methods"][0]["iqm"]["lower"] is None
    assert any(note.startswith("fewer than 3 seeds ('gipo' on hopper-medium: 1)") for note in found["notes"])
    assert "1,500.0 ± 1.6*" in gipo("compare", tmp_path / "one").stdout


def test_versions_of_a_log_are_different_logs(gipo, tmp_path):
    make_run(tmp_path / "a", fingerprint="sha256:aaaaaaaaaaaa")
    make_run(tmp_path / "b", fingerprint="sha256:bbbbbbbbbbbb")
    found = compared(gipo, tmp_path)
    assert [log["log"] for log in found["logs"]] == ["hopper-medium@aaaaaaaa", "hopper-medium@bbbbbbbb"]
    assert found["notes"][0] == (
        "runs on different versions of hopper-medium, which are different logs: hopper-medium@aaaaaaaa, "
        "hopper-medium@bbbbbbbb."
    )


def test_a_log_without_a_behaviour_policy_shows_its_logged_return(gipo, tmp_path):
    make_run(tmp_path / "a", behaviour=None)
    log = compared(gipo, tmp_path)["logs"][0]
    assert log["behaviour"]["from"] == "logged episodes"
    assert log["behaviour"]["stochastic"] == {"mean": 1010.0, "standard_error": None}
    assert log["cells"][0]["gain"] is None


def test_markdown_is_one_table_a_study_can_keep(gipo, seeds):
    outcome = gipo("compare", seeds, "--markdown")
    lines = outcome.stdout.splitlines()
    assert lines[0].startswith("| log | method | seeds | return | modes | score | gain | ESS |")
    assert lines[2].startswith(
        "| hopper-medium | gipo | 3 | 2,010 ± 25 | 2,060 | 62.4 | +1,010 ± 23 | 40% | 0.50 | 3/3 |"
    )
    assert all(line.count("|") == lines[0].count("|") for line in lines[1:6] if line.startswith("|"))
    assert outcome.stderr == ""


def test_the_picture_is_a_png(gipo, seeds):
    picture = seeds / "all.png"
    assert gipo("compare", seeds, "--plot", picture).stderr.endswith(f"wrote {picture}\n")
    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert gipo("compare", seeds, "--plot", picture).exit_code == 2


def test_the_same_run_twice_is_refused(gipo, tmp_path):
    make_run(tmp_path / "a", seed=3)
    make_run(tmp_path / "b", seed=3, device="cpu", report_every=50)  # which change nothing of the method
    outcome = gipo("compare", tmp_path)
    assert outcome.exit_code == 2
    assert outcome.stderr == (
        f"gipo: {tmp_path}/a and {tmp_path}/b are the same run twice: 'gipo' on hopper-medium, seed 3.\n"
        "      Leave one of them out; counted twice, a seed makes every interval too narrow.\n"
    )
    outcome = gipo("compare", tmp_path / "a", tmp_path / "." / "a")
    assert (outcome.exit_code, outcome.stderr.splitlines()[0]) == (
        0, f"note: {tmp_path}/a was given twice; it counts once."
    )  # fmt: skip


def test_what_is_no_run_is_refused(gipo, tmp_path):
    outcome = gipo("compare", tmp_path)
    assert (outcome.exit_code, outcome.stderr) == (
        3,
        f"gipo: {tmp_path} is not a run and holds none: there is no run.json in it or in its subdirectories.\n"
        "      Runs are made by `gipo train --out RUN`.\n",
    )
    assert gipo("compare", tmp_path / "none").stderr.startswith(f"gipo: there is no run directory {tmp_path}/none.")
    assert gipo("compare", tmp_path / "none*").stderr.startswith(f"gipo: no run matches {tmp_path}/none*.")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "cannot be read (Expecting property name enclosed in double quotes: line 1 column 2 (char 1))."),
        ("[]", "is damaged: expected an object."),
        ('{"environment": "Hopper-v5"}', "is damaged: it has no step."),
        ('{"environment": "Hopper-v5", "step": NaN}', "cannot be read (it holds NaN, which is not JSON)."),
        ('{"environment": "Hopper-v5", "step": 1e999}', "is damaged: step is 'inf'; expected a finite number."),
        (
            '{"environment": "Hopper-v5", "step": 2000, "policy": {"stochastic": {"returns": [1, 1e999]}}}',
            "is damaged: policy.stochastic.returns is no list of finite numbers.",
        ),
        (
            '{"environment": "Hopper-v5", "step": 2000, "policy": {"stochastic": {"returns": [1, Infinity]}}}',
            "cannot be read (it holds Infinity, which is not JSON).",
        ),
    ],
)
def test_a_damaged_evaluation_is_named_with_what_mends_it(gipo, tmp_path, content, said):
    run = make_run(tmp_path / "run")
    (run / "evaluation.json").write_text(content)
    outcome = gipo("compare", run)
    assert outcome.exit_code == 3
    assert outcome.stderr == (f"gipo: {run}/evaluation.json {said}\n      Write it again with: gipo evaluate {run}\n")


def test_two_environments_on_one_log_are_refused(gipo, tmp_path):
    make_run(tmp_path / "a", seed=0)
    make_run(tmp_path / "b", seed=1, environment="Hopper-v4")
    outcome = gipo("compare", tmp_path)
    assert outcome.exit_code == 3
    assert outcome.stderr.endswith(f"Evaluate both in one: gipo evaluate {tmp_path}/b --environment Hopper-v5\n")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--by", "sigmo"], "gipo: --by: there is no setting 'sigmo'.\n      Did you mean 'sigma'?\n"),
        (["--by", "seed"],
         "gipo: --by seed makes no method.\n      Runs are told apart by log and seed in any case.\n"),
        (["--baseline", "gippo"], "gipo: --baseline: there is no method 'gippo'.\n      Did you mean 'gipo'?\n"),
        (["--episodes", "5"],
         "gipo: --episodes is for the rollouts of --evaluate.\n      Add --evaluate, or leave it out.\n"),
        (["--markdown", "--json"], "gipo: --markdown and --json both print the result.\n      Give one of them.\n"),
    ],
)  # fmt: skip
def test_flags_that_name_nothing_are_refused(gipo, tmp_path, flags, said):
    run = make_run(tmp_path / "run")
    outcome = gipo("compare", run, *flags)
    assert (outcome.exit_code, outcome.stderr) == (2, said)


def test_a_real_run_is_evaluated_once(gipo, quick_run):
    assert "is not evaluated yet" in gipo("compare", quick_run).stderr
    outcome = gipo("compare", quick_run, "--evaluate", "--episodes", "3", "--json", "--quiet")
    found = json.loads(outcome.stdout)
    kept = json.loads((quick_run / "evaluation.json").read_text())
    assert found["runs"][0]["stochastic"] == pytest.approx(kept["policy"]["stochastic"]["mean"])
    assert found["logs"][0]["cells"][0]["gain"]["mean"] == pytest.approx(kept["gain"]["mean"])
    before = (quick_run / "evaluation.json").read_bytes()
    again = gipo("compare", quick_run, "--evaluate", "--episodes", "9", "--json", "--quiet")
    assert again.stdout == outcome.stdout and (quick_run / "evaluation.json").read_bytes() == before
    # An older checkpoint's takes its place, and is not passed off as the run's.
    assert gipo("evaluate", quick_run, "--episodes", "2", "--step", "10", "--quiet").exit_code == 0
    found = compared(gipo, quick_run)
    assert found["runs"][0]["used"] is False and found["logs"][0]["cells"][0]["stochastic"] is None
    assert found["notes"][0].startswith(f"{quick_run} was evaluated at step 10, its last checkpoint is step 40")
