"""Shared fixtures: a quiet terminal, and the command line run in this process."""

import os
import shutil

import pytest

os.environ.update(COLUMNS="100", NO_COLOR="1", TERM="dumb")
# Before torch is imported: sums are formed in one order, and beside another process two threads are far slower.
os.environ["OMP_NUM_THREADS"] = "1"


class Outcome:
    """What a command printed and the exit code it left with."""

    def __init__(self, exit_code: int, stdout: str, stderr: str) -> None:
        self.exit_code, self.stdout, self.stderr = exit_code, stdout, stderr


@pytest.fixture
def gipo(capsys):
    """Run `gipo ARGUMENTS...` in this process through the same boundary as the installed command."""
    from gipo_cli.cli import main

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        with pytest.raises(SystemExit) as exited:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        code = exited.value.code
        return Outcome(int(code or 0) if not isinstance(code, str) else 1, captured.out, captured.err)

    return run


@pytest.fixture(autouse=True)
def checks_at_work(monkeypatch):
    """Checks of a log look at it, whatever an earlier test left in the cache."""
    monkeypatch.setattr("gipo_cli.data.cache.cached_document", lambda kind, key, make, is_one: make())


@pytest.fixture(scope="session")
def cartpole_policy(tmp_path_factory):
    """A categorical policy for CartPole that leans the right way, noisily: about 95 steps an episode."""
    import torch

    from gipo_cli.policies.policy import Policy, PolicySpec
    from gipo_cli.policies.weights import save_policy

    policy = Policy(PolicySpec("categorical", observation_size=4, action_size=2, hidden_sizes=(8,), activation="tanh"))
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.zero_()
        policy.fc0.weight[0] = torch.tensor([0.0, 0.0, 1.0, 0.3])  # the pole's angle and its speed
        policy.last_fc.weight[1, 0] = 4.0
    path = tmp_path_factory.mktemp("policies") / "cartpole.safetensors"
    save_policy(policy, path)
    return path


@pytest.fixture(scope="session")
def cartpole_log(cartpole_policy, tmp_path_factory):
    """A log of CartPole made by the recorder: 4,000 steps, exact log-probs, the policy's weights inside."""
    from gipo_cli.cli import main

    path = tmp_path_factory.mktemp("logs") / "cartpole.hdf5"
    with pytest.raises(SystemExit) as exited:
        main(
            ["datasets", "record", "--environment", "CartPole-v1", "--policy", str(cartpole_policy),
             "--steps", "4000", "--environments", "4", "--out", str(path), "--quiet", "--json"]
        )  # fmt: skip
    assert not exited.value.code
    return path


QUICK = ("--steps", "40", "--set", "critic_steps=40", "--set", "report_every=5", "--set", "checkpoint_every=10")


@pytest.fixture(scope="session")
def trained_once(cartpole_log, tmp_path_factory):
    """A finished run of a few steps on the CartPole log, which no test may change."""
    from gipo_cli.cli import main

    run = tmp_path_factory.mktemp("trained") / "run"
    with pytest.raises(SystemExit) as exited:
        main(
            ["train", "--dataset", str(cartpole_log), "--out", str(run), "--device", "cpu", "--quiet", "--json", *QUICK]
        )
    assert not exited.value.code
    return run


@pytest.fixture
def quick_run(trained_once, tmp_path):
    """A test's own copy of that run, as if it had been trained in its place."""
    run = shutil.copytree(trained_once, tmp_path / "run")
    record = run / "run.json"
    record.write_text(record.read_text().replace(str(trained_once), str(run)))
    return run
