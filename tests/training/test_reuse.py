"""A run that takes start and advantages from another ends with the bytes of one that computed them."""

import pytest

SETTINGS = (
    "--device", "cpu", "--steps", "40", "--set", "critic_steps=40", "--set", "report_every=10",
    "--set", "checkpoint_every=20",
)  # fmt: skip


def content(run):
    files = [run / "metrics.jsonl", run / "log_ratios.npz", *sorted(run.glob("checkpoints/step-*/*"))]
    return {str(path.relative_to(run)): path.read_bytes() for path in files}


@pytest.fixture
def first(gipo, cartpole_log, tmp_path):
    outcome = gipo("train", "--dataset", cartpole_log, "--out", tmp_path / "first", "--quiet", *SETTINGS)
    assert outcome.exit_code == 0, outcome.stderr
    return tmp_path / "first"


@pytest.mark.parametrize(
    "changed",
    [
        ("--objective", "sapo"),
        ("--sigma", "auto", "--kl-target", "0.2"),
        ("--steps", "20", "--set", "learning_rate=1e-3"),
    ],
)
def test_it_has_the_bytes_of_a_run_of_its_own(gipo, cartpole_log, first, tmp_path, changed):
    arguments = ("train", "--dataset", cartpole_log, "--quiet", *SETTINGS, *changed)
    for name, reused in (("alone", ()), ("reused", ("--reuse", first))):
        outcome = gipo(*arguments, "--out", tmp_path / name, *reused)
        assert outcome.exit_code == 0, outcome.stderr
    assert content(tmp_path / "reused") == content(tmp_path / "alone")
    behaviour = "behaviour.safetensors"
    assert (tmp_path / "reused" / behaviour).read_bytes() == (tmp_path / "alone" / behaviour).read_bytes()


def test_it_computes_neither(gipo, cartpole_log, first, tmp_path, monkeypatch):
    monkeypatch.setattr("gipo_cli.training.loop.begin", None)
    outcome = gipo("train", "--dataset", cartpole_log, "--out", tmp_path / "b", "--quiet", *SETTINGS, "--reuse", first)
    assert outcome.exit_code == 0, outcome.stderr


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (("--seed", "1"), "it has seed 0, this run 1; its start and advantages are others."),
        (("--advantage", "gae"), "it has advantage path-consistency, this run gae;"),
        (("--set", "critic_steps=41"), "it has critic_steps 40, this run 41; its start and advantages are others."),
        (("--set", "rounds=2"), "did not keep the behaviour policy, which rounds=2 needs."),
    ],
)  # fmt: skip
def test_what_would_compute_others_is_refused_before_anything_is_written(
    gipo, cartpole_log, first, tmp_path, changed, said
):
    arguments = ("train", "--dataset", cartpole_log, "--out", tmp_path / "b", "--quiet", *SETTINGS, *changed)
    outcome = gipo(*arguments, "--reuse", first)
    assert outcome.exit_code == 2
    assert said in " ".join(outcome.stderr.split())
    assert not (tmp_path / "b").exists()


def test_another_log_a_missing_run_and_a_damaged_one_are_refused(gipo, cartpole_log, first, tmp_path):
    arguments = ("train", "--out", tmp_path / "b", "--quiet", *SETTINGS)
    outcome = gipo(*arguments, "--dataset", "cartpole-medium", "--reuse", first)
    assert (outcome.exit_code, "its log was another one" in outcome.stderr) == (2, True)
    outcome = gipo(*arguments, "--dataset", cartpole_log, "--reuse", tmp_path / "none")
    assert (outcome.exit_code, "there is no run directory" in outcome.stderr) == (3, True)
    (first / "checkpoints" / "step-00000000" / "policy.safetensors").write_bytes(b"")
    outcome = gipo(*arguments, "--dataset", cartpole_log, "--reuse", first)
    assert (outcome.exit_code, "is damaged" in outcome.stderr) == (3, True)
    assert not (tmp_path / "b").exists()


@pytest.fixture
def bare(cartpole_log, tmp_path):
    """The log without its policy, which has to be cloned."""
    import h5py

    path = tmp_path / "bare.hdf5"
    path.write_bytes(cartpole_log.read_bytes())
    with h5py.File(path, "r+") as file:
        del file["metadata/policy"]
    return path


CLONED = (*SETTINGS, "--set", "clone_steps=30", "--set", "hidden_sizes=[8]")


def test_what_decides_a_clone_is_compared_where_there_is_one(gipo, cartpole_log, bare, first, tmp_path):
    one = tmp_path / "one"
    assert gipo("train", "--dataset", bare, "--out", one, "--quiet", *CLONED).exit_code == 0
    changed = ("--set", "batch_size=64")
    outcome = gipo("train", "--dataset", bare, "--out", tmp_path / "two", "--quiet", *CLONED, *changed, "--reuse", one)
    assert (outcome.exit_code, "it has batch_size 1024, this run 64" in outcome.stderr) == (2, True)
    # Where the log carries its policy, the size of a batch decides neither start nor advantages.
    arguments = ("train", "--dataset", cartpole_log, "--quiet", *SETTINGS, *changed)
    for name, reused in (("alone", ()), ("reused", ("--reuse", first))):
        assert gipo(*arguments, "--out", tmp_path / name, *reused).exit_code == 0
    assert content(tmp_path / "reused") == content(tmp_path / "alone")


def test_a_clone_is_reused_with_the_same_bytes(gipo, bare, tmp_path):
    arguments = ("train", "--dataset", bare, "--quiet", *CLONED)
    assert gipo(*arguments, "--out", tmp_path / "first").exit_code == 0
    assert gipo(*arguments, "--objective", "sapo", "--out", tmp_path / "alone").exit_code == 0
    reused = ("--objective", "sapo", "--out", tmp_path / "reused", "--reuse", tmp_path / "first")
    assert gipo(*arguments, *reused).exit_code == 0
    assert content(tmp_path / "reused") == content(tmp_path / "alone")


def test_a_start_that_was_overwritten_is_another_one(gipo, cartpole_log, cartpole_policy, tmp_path):
    from gipo_cli.policies.weights import load_policy, save_policy

    policy, _ = load_policy(cartpole_policy)
    init = tmp_path / "init.safetensors"
    save_policy(policy, init)
    arguments = ("train", "--dataset", cartpole_log, "--init", init, "--quiet", *SETTINGS)
    assert gipo(*arguments, "--out", tmp_path / "first").exit_code == 0
    assert gipo(*arguments, "--out", tmp_path / "same", "--reuse", tmp_path / "first").exit_code == 0
    policy.last_fc.bias.data.add_(1)
    save_policy(policy, init)
    outcome = gipo(*arguments, "--out", tmp_path / "other", "--reuse", tmp_path / "first")
    assert (outcome.exit_code, "it began from another policy" in outcome.stderr) == (2, True)


def test_nothing_of_the_other_run_is_copied_that_a_link_could_stand_for(gipo, cartpole_log, first, tmp_path):
    own = (first / "behaviour.safetensors").read_bytes()
    (first / "behaviour.safetensors").unlink()
    (first / "behaviour.safetensors").symlink_to("/etc/hostname")
    arguments = ("--out", tmp_path / "b", "--quiet", *SETTINGS, "--reuse", first)
    assert gipo("train", "--dataset", cartpole_log, *arguments).exit_code == 0
    assert (tmp_path / "b" / "behaviour.safetensors").read_bytes() == own
    record = first / "run.json"
    record.write_text("{}")
    outcome = gipo("train", "--dataset", cartpole_log, "--out", tmp_path / "c", *arguments[2:])
    assert (outcome.exit_code, "its log was another one" in outcome.stderr) == (2, True)
