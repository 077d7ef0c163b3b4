"""Every example runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def test_the_log_of_the_example_trains(gipo, tmp_path):
    log = tmp_path / "my-log.hdf5"
    subprocess.run([sys.executable, EXAMPLES / "bring_your_own_log.py", log], check=True)
    info = json.loads(gipo("datasets", "info", log, "--json").stdout)
    assert (info["transitions"], info["episodes"], info["notes"], info["warnings"]) == (2000, 40, [], [])
    outcome = gipo(
        "train", "--dataset", log, "--out", tmp_path / "run", "--json", "--quiet", "--steps", "50",
        "--set", "critic_steps=50", "--set", "clone_steps=1500", "--set", "hidden_sizes=[32]",
    )  # fmt: skip
    start = json.loads(outcome.stdout)["warm_start"]
    # A linear Gaussian is easy to clone; log beta is recorded, so what is missing is known, in nats.
    assert start["kind"] == "cloning"
    assert start["kl"] < 0.05


def test_the_wrapper_of_the_example_records_a_log(gipo, tmp_path):
    log = tmp_path / "my-log.hdf5"
    subprocess.run([sys.executable, EXAMPLES / "record_with_wrapper.py", log], check=True)
    info = json.loads(gipo("datasets", "info", log, "--json").stdout)
    assert (info["environment"], info["episodes"], info["notes"], info["warnings"]) == ("CartPole-v1", 20, [], [])
    assert info["log_probs"]["convention"] == "categorical"
    assert info["log_probs"]["max"] < 0


@pytest.mark.parametrize(("algorithm", "convention"), [("ppo", "gaussian"), ("sac", "tanh_gaussian")])
def test_the_callback_of_the_example_records_a_log(gipo, tmp_path, algorithm, convention):
    pytest.importorskip("stable_baselines3", reason="needs stable-baselines3")
    log = tmp_path / "my-log.hdf5"
    subprocess.run([sys.executable, EXAMPLES / "record_during_sb3_training.py", log, algorithm], check=True)
    info = json.loads(gipo("datasets", "info", log, "--json").stdout)
    assert (info["environment"], info["notes"], info["warnings"]) == ("Pendulum-v1", [], [])
    assert info["log_probs"]["convention"] == convention
    assert info["transitions"] == (768 if algorithm == "ppo" else 600)  # PPO ends its rollout of 256


def test_there_is_a_test_for_every_example():
    expected = {"bring_your_own_log.py", "record_with_wrapper.py", "record_during_sb3_training.py"}
    assert {path.name for path in EXAMPLES.glob("*.py")} == expected


def steps_of(workflow):
    """Name, whether it always runs, and commands of each step of a workflow that is a shell's."""
    text = (EXAMPLES / "ci" / workflow).read_text()
    for part in text.split("      - name: ")[1:]:
        name, _, rest = part.partition("\n")
        body = rest.split("        run: |\n")[1].split("\n      - ")[0]
        yield name, "if: always()" in rest, "\n".join(line.removeprefix(" " * 10) for line in body.splitlines())


def run_workflow(place, dataset, *settings):
    """Run the steps as a CI runner does, in a shell that ends at the first failure; the exit code of each that ran."""
    (place / "policy.toml").write_text("\n".join([f'dataset = "{dataset}"', *settings]))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environment = {**os.environ, "GITHUB_STEP_SUMMARY": str(place / "summary.md"), "PATH": path}
    codes = {}
    for name, always, commands in steps_of("github-actions.yml"):
        if always or not any(codes.values()):
            shell = ["bash", "-e", "-c", commands]
            codes[name] = subprocess.run(shell, cwd=place, env=environment, capture_output=True, check=False).returncode
    return codes


QUICK_JOB = ("steps = 60", "critic_steps = 800", "report_every = 20", "learning_rate = 1e-3")


def test_the_workflow_publishes_a_run_whose_gates_hold(cartpole_log, tmp_path):
    codes = run_workflow(tmp_path, cartpole_log, *QUICK_JOB, "held_out_fraction = 0.3")
    assert codes == {"Train": 0, "Weights": 0, "Publish": 0}
    assert (tmp_path / "summary.md").read_text().startswith("# Run run")
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")
    assert 'failures="0"' in (tmp_path / "gates.xml").read_text()


def test_the_workflow_fails_at_a_gate_and_publishes_why(cartpole_log, tmp_path):
    # Ten updates explain nothing, so nothing can be certified.
    codes = run_workflow(tmp_path, cartpole_log, "steps = 60", "critic_steps = 10", "report_every = 20")
    assert codes["Train"] == 4
    assert "Weights" not in codes
    assert codes["Publish"] == 0  # the gates of the training are shown, and were enforced there
    assert 'failures="1"' in (tmp_path / "gates.xml").read_text()
    assert "certificate.certified is no" in (tmp_path / "summary.md").read_text()


def test_the_pipeline_trains_the_batch_and_publishes_it(cartpole_log, tmp_path):
    pipeline, jobs = ((EXAMPLES / "ci" / name).read_text() for name in ("gitlab-ci.yml", "jobs.toml"))
    quick = "\n".join((f'dataset = "{cartpole_log}"', *QUICK_JOB, "held_out_fraction = 0.3", 'device = "cpu"'))
    jobs = jobs.replace('dataset = "cartpole-medium"', quick)
    # One job does for the steps; what the others come to is tested of the command.
    (tmp_path / "jobs.toml").write_text(jobs[: jobs.index("[[matrix]]")] + jobs[jobs.index("[[job]]") :])
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    codes = []
    for part in ("script", "after_script"):
        lines = pipeline.split(f"  {part}:\n")[1].split("\n  c")[0].split("\n  a")[0].splitlines()
        commands = "\n".join(line.strip().removeprefix("- ") for line in lines)
        shell = ["bash", "-e", "-c", commands]
        done = subprocess.run(shell, cwd=tmp_path, env={**os.environ, "PATH": path}, capture_output=True, check=False)
        codes.append(done.returncode)
    assert codes == [0, 0]
    assert 'failures="0"' in (tmp_path / "gates.xml").read_text()
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")


def test_the_job_file_of_the_example_is_understood(gipo, tmp_path):
    outcome = gipo("batch", EXAMPLES / "ci" / "jobs.toml", "--out", tmp_path / "batch", "--dry-run", "--json")
    names = [job["job"] for job in json.loads(outcome.stdout)["jobs"]]
    assert names == ["gipo_sigma-0.5_seed-0", "gipo_sigma-1.0_seed-0", "gipo_sigma-1.0_seed-1", "ppo-clip_seed-0",
                     "ppo-clip_seed-1", "wide"]  # fmt: skip


@pytest.mark.parametrize(("dataset", "setting", "code"), [("nowhere.hdf5", "", 3), ("", "stepz = 3", 2)])
def test_the_workflow_tells_a_wrong_setting_from_a_wrong_log(cartpole_log, tmp_path, dataset, setting, code):
    codes = run_workflow(tmp_path, dataset or cartpole_log, setting)
    assert codes["Train"] == code
