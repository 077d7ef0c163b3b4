"""`gipo train` from end to end, on a CartPole log made by the recorder."""

import json
import shutil
import tomllib

import h5py
import numpy as np
import pytest

from gipo_cli.registry import OBJECTIVES

QUICK = ("--steps", "40", "--set", "critic_steps=40", "--set", "report_every=5", "--set", "checkpoint_every=10")


def test_a_run_directory_holds_all_that_the_other_commands_need(quick_run):
    config = tomllib.loads((quick_run / "config.toml").read_text())
    record = json.loads((quick_run / "run.json").read_text())
    metrics = [json.loads(line) for line in (quick_run / "metrics.jsonl").read_text().splitlines()]
    ratios = np.load(quick_run / "log_ratios.npz", allow_pickle=False)
    assert (config["objective"], config["settings"], config["steps"]) == (
        "gipo",
        {"sigma": 1.0, "sigma_negative_ratio": 1.0},
        40,
    )
    assert record["status"] == "finished"
    assert record["dataset"]["environment"] == "CartPole-v1"
    assert record["dataset"]["fingerprint"].startswith("sha256:")
    assert [line["step"] for line in metrics] == list(range(5, 41, 5))
    assert set(ratios.files) == {"log_ratio", "advantage", "episode", "held_out", "home", "step"}
    assert ratios["log_ratio"].shape == (record["dataset"]["transitions"],)
    assert (quick_run / "latest").read_text() == "step-00000040\n"
    assert (quick_run / "behaviour.safetensors").is_file()


def test_the_summary_has_the_keys_that_scripts_rely_on(gipo, cartpole_log, tmp_path):
    outcome = gipo("train", "--dataset", cartpole_log, "--out", tmp_path / "run", "--json", "--quiet", *QUICK)
    summary = json.loads(outcome.stdout)
    keys = {"run", "status", "dataset", "objective", "settings", "steps", "seconds", "warm_start", "held_out"}
    assert keys <= set(summary)
    assert {"name", "fingerprint", "transitions", "episodes", "log_probs"} <= set(summary["dataset"])
    assert set(summary["warm_start"]) >= {"kind", "kl"}
    assert set(summary["held_out"]) == {"ess_fraction", "kl", "surrogate", "surrogate_lower"}
    assert summary["status"] == "finished"
    # Loaded weights are beta itself: float32 rounding of the recorded log-probs is all that is left.
    assert abs(summary["warm_start"]["kl"]) < 1e-6


@pytest.fixture(scope="module")
def start(cartpole_log, tmp_path_factory):
    """A run whose start and advantages do for every objective."""
    from gipo_cli.cli import main

    run = tmp_path_factory.mktemp("start") / "run"
    with pytest.raises(SystemExit) as exited:
        main(["train", "--dataset", str(cartpole_log), "--out", str(run), "--quiet", "--steps", "1", *EASY])
    assert not exited.value.code
    return run


EASY = ("--set", "critic_steps=300", "--set", "learning_rate=1e-3")


@pytest.mark.parametrize("objective", [name for name in OBJECTIVES.places if name != "bc"])  # which follows none
def test_every_objective_moves_the_policy_towards_the_advantages(gipo, cartpole_log, start, tmp_path, objective):
    outcome = gipo(
        "train", "--dataset", cartpole_log, "--out", tmp_path / "run", "--objective", objective, "--json", "--quiet",
        "--steps", "100", "--reuse", start, *EASY,
    )  # fmt: skip
    assert outcome.exit_code == 0, outcome.stderr
    # CartPole's advantages are easy: what is followed on the held-in episodes holds on the others.
    assert json.loads(outcome.stdout)["held_out"]["surrogate"] > 0.02


def test_a_name_too_long_for_a_path_is_bad_data(gipo):
    outcome = gipo("train", "--dataset", "a" * 300, "--dry-run")
    assert outcome.exit_code == 3
    assert "is not a path that can be looked up" in outcome.stderr


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not(gipo, cartpole_log, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        gipo("train", "--dataset", cartpole_log, "--out", tmp_path / name, "--seed", seed, "--quiet", *QUICK,
             "--set", "certify=false")  # fmt: skip
    a, b, c = (
        (tmp_path / name / "checkpoints/step-00000040/policy.safetensors").read_bytes() for name in ("a", "b", "c")
    )
    assert a == b
    assert a != c


def test_a_config_file_repeats_a_run(gipo, cartpole_log, quick_run, tmp_path):
    again = tmp_path / "again"
    assert gipo("train", "--config", quick_run / "config.toml", "--out", again, "--quiet").exit_code == 0
    assert (again / "metrics.jsonl").read_bytes() == (quick_run / "metrics.jsonl").read_bytes()


def test_a_log_without_weights_is_cloned_and_says_how_far_it_fell_short(gipo, cartpole_log, tmp_path):
    bare = tmp_path / "bare.hdf5"
    shutil.copy(cartpole_log, bare)
    with h5py.File(bare, "r+") as file:
        del file["metadata/policy"]
    outcome = gipo(
        "train", "--dataset", bare, "--out", tmp_path / "run", "--json", "--quiet", "--set", "clone_steps=600",
        "--set", "hidden_sizes=[32]", "--set", "activation='tanh'", *QUICK,
    )  # fmt: skip
    summary = json.loads(outcome.stdout)
    assert summary["warm_start"]["kind"] == "cloning"
    # A coin toss is 0.45 nats from this policy; 600 updates of a small network come well within a tenth of a nat.
    assert summary["warm_start"]["kl"] < 0.1
    assert not (tmp_path / "run/behaviour.safetensors").exists()


def test_rewards_that_are_noise_certify_nothing_and_the_starting_policy_is_kept(gipo, cartpole_log, tmp_path):
    noise = tmp_path / "noise.hdf5"
    shutil.copy(cartpole_log, noise)
    with h5py.File(noise, "r+") as file:
        steps = len(file["rewards"])
        file["rewards"][:] = np.random.default_rng(0).standard_normal(steps)
        # Without ends nothing that an action does can matter to the return.
        file["timeouts"][:] |= file["terminals"][:]
        file["terminals"][:] = False
    run = tmp_path / "run"
    outcome = gipo(
        "train", "--dataset", noise, "--out", run, "--json", "--quiet", "--steps", "200", "--set", "critic_steps=400",
        "--set", "learning_rate=1e-3", "--set", "discount=0.9",
    )  # fmt: skip
    certificate = json.loads(outcome.stdout)["certificate"]
    assert certificate["certified"] is False
    assert certificate["kept"] == "starting policy"
    assert certificate["reason"]
    first, last = (run / f"checkpoints/step-{step:08d}/policy.safetensors" for step in (0, 200))
    assert first.read_bytes() == last.read_bytes()
    assert (run / "trained.safetensors").is_file()
    assert np.abs(np.load(run / "log_ratios.npz")["log_ratio"]).max() < 1e-5


def test_numbers_that_are_not_finite_stop_the_run_and_leave_the_last_good_checkpoint(gipo, cartpole_log, tmp_path):
    run = tmp_path / "run"
    outcome = gipo(
        "train", "--dataset", cartpole_log, "--out", run, "--quiet", *QUICK, "--objective", "no-clip",
        "--set", "learning_rate=1e39", "--set", "max_gradient_norm=1e30",
    )  # fmt: skip
    assert outcome.exit_code == 5
    assert outcome.stderr.startswith("gipo: training met a number that is not finite between steps 0 and 5.\n")
    assert json.loads((run / "run.json").read_text())["status"] == "diverged"
    assert (run / "latest").read_text() == "step-00000000\n"


def test_dry_run_trains_nothing_and_writes_nothing(gipo, cartpole_log, tmp_path):
    outcome = gipo("train", "--dataset", cartpole_log, "--out", tmp_path / "run", "--dry-run", "--json")
    assert outcome.exit_code == 0
    assert json.loads(outcome.stdout)["config"]["settings"] == {"sigma": 1.0, "sigma_negative_ratio": 1.0}
    assert not (tmp_path / "run").exists()


def test_without_a_terminal_each_report_is_one_line_on_stderr(gipo, cartpole_log, tmp_path):
    outcome = gipo("train", "--dataset", cartpole_log, "--out", tmp_path / "run", "--json", *QUICK)
    lines = [line for line in outcome.stderr.splitlines() if line.startswith("policy ")]
    assert len(lines) == 8
    assert lines[0].startswith("policy 5/40  loss ")
    assert "\x1b" not in outcome.stderr


def test_an_occupied_directory_is_refused_and_left_as_it_is(gipo, cartpole_log, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run/thesis.txt").write_text("mine")
    outcome = gipo("train", "--dataset", cartpole_log, "--out", tmp_path / "run")
    assert outcome.exit_code == 2
    assert outcome.stderr == (
        f"gipo: the output directory {tmp_path}/run is not empty.\n"
        "      Choose another --out, or empty it yourself.\n"
    )  # fmt: skip
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--dataset", "hopper-meduim"], 2, (
            "gipo: there is no dataset 'hopper-meduim'.\n"
            "      Did you mean 'hopper-medium'?\n"
        )),
        (["--dataset", "{log}", "--objective", "gpio"], 2, (
            "gipo: there is no objective 'gpio'.\n"
            "      Did you mean 'gipo'?\n"
        )),
        (["--dataset", "{log}", "--sigma", "0"], 2, (
            "gipo: sigma of the objective 'gipo' is 0.0; expected a number above 0.\n"
        )),
        (["--dataset", "{log}", "--set", "sigam=1"], 2, (
            "gipo: the objective 'gipo' has no setting 'sigam'.\n"
            "      Did you mean 'sigma'? It has: sigma=1.0, sigma_negative_ratio=1.0.\n"
        )),
        (["--dataset", "{log}", "--advantage", "gae", "--set", "gae_lamda=0.5"], 2, (
            "gipo: there is no setting 'gae_lamda'.\n"
            "      Did you mean 'gae_lambda'?\n"
        )),
        (["--dataset", "{log}", "--sigma", "auto", "--objective", "ppo-clip"], 2, (
            "gipo: --sigma auto: the objective 'ppo-clip' has no sigma.\n"
            "      gipo, gipo-laplacian and gipo-cauchy do.\n"
        )),
        (["--dataset", "{log}", "--steps", "-5"], 2, (
            "gipo: steps is -5; expected a number above 0.\n"
        )),
        (["--dataset", "{log}", "--device", "tpu"], 2, (
            "gipo: --device is 'tpu'.\n"
            "      Expected auto, cpu, cuda or cuda:N.\n"
        )),
        (["--dataset", "{log}", "--set", "sigma"], 2, (
            "gipo: --set 'sigma' has no value.\n"
            "      Write --set NAME=VALUE, as in --set sigma=0.5.\n"
        )),
        (["--dataset", "{log}", "--config", "none.toml"], 2, (
            "gipo: --config: none.toml cannot be read (No such file or directory).\n"
        )),
        (["--dataset", "{log}", "--init", "nowhere"], 2, (
            "gipo: --init: there is no nowhere.\n"
            "      Expected a run, a checkpoint or a .safetensors policy.\n"
        )),
        ([], 2, (
            "gipo: gipo train: no dataset is named.\n"
            "      Try: gipo train --dataset hopper-medium\n"
        )),
        (["--dataset", "missing.hdf5"], 3, (
            "gipo: there is no file missing.hdf5.\n"
            "      `gipo datasets list` shows what is bundled.\n"
        )),
        (["--resume", "nowhere"], 3, (
            "gipo: there is no run directory nowhere.\n"
            "      Runs are made by `gipo train --out RUN`.\n"
        )),
    ],
)  # fmt: skip
def test_bad_input_is_one_plain_error_and_leaves_nothing(
    gipo, cartpole_log, tmp_path, monkeypatch, arguments, code, message
):  # fmt: skip
    monkeypatch.chdir(tmp_path)
    outcome = gipo("train", *[argument.format(log=cartpole_log) for argument in arguments])
    assert (outcome.exit_code, outcome.stdout, outcome.stderr) == (code, "", message)
    assert list(tmp_path.iterdir()) == []


def test_resuming_a_finished_run_prints_its_summary_and_changes_nothing(gipo, quick_run):
    before = (quick_run / "metrics.jsonl").read_bytes()
    outcome = gipo("train", "--resume", quick_run, "--json", "--quiet")
    assert outcome.exit_code == 0
    assert json.loads(outcome.stdout)["steps"] == 40
    assert (quick_run / "metrics.jsonl").read_bytes() == before


def test_resuming_refuses_other_settings_and_another_log(gipo, quick_run, cartpole_log, tmp_path):
    outcome = gipo("train", "--resume", quick_run, "--steps", "99")
    assert outcome.exit_code == 2
    assert outcome.stderr.startswith("gipo: --resume takes every setting from the run; --steps cannot be given")
    changed = tmp_path / "changed.hdf5"
    shutil.copy(cartpole_log, changed)
    with h5py.File(changed, "r+") as file:
        file["rewards"][0] = 7
    config = quick_run / "config.toml"
    config.write_text(config.read_text().replace(str(cartpole_log), str(changed)))
    outcome = gipo("train", "--resume", quick_run)
    assert outcome.exit_code == 3
    assert "was trained on another log" in outcome.stderr


def test_a_run_can_start_from_another(gipo, quick_run, cartpole_log, tmp_path):
    outcome = gipo(
        "train", "--dataset", cartpole_log, "--init", quick_run, "--out", tmp_path / "next", "--json", "--quiet", *QUICK
    )
    assert outcome.exit_code == 0, outcome.stderr
    assert json.loads(outcome.stdout)["warm_start"]["kind"] == "checkpoint"
