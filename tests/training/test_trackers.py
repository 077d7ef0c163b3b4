"""--log-to: what trackers are given, and that none of them can end a training."""

import json
import shutil
import sys
import types

import pytest

from gipo_cli.registry import TRACKERS

QUICK = (
    "--steps", "40", "--set", "critic_steps=10", "--set", "report_every=10", "--set", "checkpoint_every=20", "--quiet",
)  # fmt: skip


def lines(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture
def fake(monkeypatch):
    """A stand-in for a package with the interface of wandb: it writes down what it is told."""

    def make(name, fails_at=None):
        told = types.SimpleNamespace(begun=[], logged=[], finished=0)

        def log(figures, step):
            if step == fails_at:
                raise ConnectionError("no route")
            told.logged.append((step, figures))

        def finish():
            told.finished += 1

        module = types.ModuleType(name)
        module.log, module.finish = log, finish
        module.init = lambda **options: told.begun.append(options) or module
        monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.delitem(sys.modules, f"gipo_cli.trackers.{name}", raising=False)
        return told

    return make


def test_tensorboard_has_every_figure_of_every_report_once_also_after_resuming(gipo, cartpole_log, tmp_path):
    reader = "tensorboard.backend.event_processing.event_accumulator"
    accumulator = pytest.importorskip(reader, reason="needs tensorboard")
    run = tmp_path / "run"
    assert gipo("train", "--dataset", cartpole_log, "--out", run, "--log-to", "tensorboard", *QUICK).exit_code == 0
    # As after a kill behind step 20: what it did after its checkpoint is done, and reported, again.
    shutil.rmtree(run / "checkpoints" / "step-00000040")
    (run / "latest").write_text("step-00000020\n")
    assert gipo("train", "--resume", run, "--log-to", "tensorboard", "--quiet").exit_code == 0
    events = accumulator.EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    assert {"loss", "kl", "anchor", "held_out/kl", "held_out/ess_fraction"} <= set(events.Tags()["scalars"])
    for name, path in (("loss", ("loss",)), ("held_out/kl", ("held_out", "kl"))):
        for event, line in zip(events.Scalars(name), lines(run), strict=True):
            value = line
            for key in path:
                value = value[key]
            assert (event.step, event.value) == (line["step"], pytest.approx(value, rel=1e-6))  # stored in float32


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_hosted_trackers_get_the_configuration_and_go_on_in_the_same_run(gipo, cartpole_log, tmp_path, fake, name):
    told, run = fake(name), tmp_path / "run"
    assert gipo("train", "--dataset", cartpole_log, "--out", run, "--log-to", name, *QUICK).exit_code == 0
    assert [step for step, _ in told.logged] == [10, 20, 30, 40]
    assert told.logged[-1][1]["held_out.kl"] == lines(run)[-1]["held_out"]["kl"]
    assert told.finished == 1
    shutil.rmtree(run / "checkpoints" / "step-00000040")  # one that has ended has nothing more to tell
    assert gipo("train", "--resume", run, "--log-to", name, "--quiet").exit_code == 0
    first, second = told.begun
    assert first == second
    assert (first["project"], first["resume"], first["config"]["steps"]) == ("gipo", "allow", 40)
    assert "run" in first["name"]


def test_a_tracker_that_fails_is_named_and_training_goes_on(gipo, cartpole_log, tmp_path, fake):
    told, run = fake("wandb", fails_at=20), tmp_path / "run"
    outcome = gipo("train", "--dataset", cartpole_log, "--out", run, "--log-to", "wandb", *QUICK)
    assert outcome.exit_code == 0
    assert "warning: wandb failed and gets no more metrics (ConnectionError: no route)." in outcome.stderr
    assert [step for step, _ in told.logged] == [10]
    assert [line["step"] for line in lines(run)] == [10, 20, 30, 40]


@pytest.mark.parametrize(
    ("name", "said"),
    [("tensorbord", "Did you mean 'tensorboard'?"), ("trackio", "pip install 'gipo[trackio]'")],
)
def test_what_cannot_be_had_is_refused_before_any_work(gipo, cartpole_log, tmp_path, monkeypatch, name, said):
    monkeypatch.setitem(sys.modules, "trackio", None)
    monkeypatch.delitem(sys.modules, "gipo_cli.trackers.trackio", raising=False)
    outcome = gipo("train", "--dataset", cartpole_log, "--out", tmp_path / "run", "--log-to", name, *QUICK)
    assert (outcome.exit_code, said in outcome.stderr) == (2, True)
    assert not (tmp_path / "run").exists()


def test_one_that_cannot_begin_is_refused_with_its_reason(gipo, cartpole_log, tmp_path, fake):
    fake("wandb")
    sys.modules["wandb"].init = lambda **options: (_ for _ in ()).throw(RuntimeError("not logged in"))
    outcome = gipo("train", "--dataset", cartpole_log, "--out", tmp_path / "run", "--log-to", "wandb", *QUICK)
    said = "--log-to wandb cannot begin (RuntimeError: not logged in)"
    assert (outcome.exit_code, said in outcome.stderr) == (2, True)


def test_every_tracker_has_its_extra():
    import tomllib
    from pathlib import Path

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert set(TRACKERS.places) <= set(project["optional-dependencies"])
