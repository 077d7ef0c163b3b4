"""The whole path on a GPU."""

import json

import pytest
import torch

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device on this machine"),
]


def test_training_on_cuda_agrees_with_the_cpu(gipo, cartpole_log, tmp_path):
    found = {}
    for device in ("cpu", "cuda"):
        outcome = gipo(
            "train", "--dataset", cartpole_log, "--out", tmp_path / device, "--device", device, "--steps", "50",
            "--set", "critic_steps=50", "--json", "--quiet",
        )  # fmt: skip
        assert outcome.exit_code == 0, outcome.stderr
        found[device] = json.loads(outcome.stdout)
        assert gipo("evaluate", tmp_path / device, "--episodes", "2", "--json").exit_code == 0
    # The order of samples is the same on both; sums differ by float32 rounding, grown over 100 updates.
    assert found["cuda"]["held_out"] == pytest.approx(found["cpu"]["held_out"], rel=0.05, abs=1e-3)
    assert json.loads((tmp_path / "cuda/run.json").read_text())["device"].startswith("cuda")


@pytest.mark.parametrize(
    "settings",
    [
        ("objective=gipo",),
        ("objective=ppo-clip", "ess_base=0.9"),
        ("sigma=auto",),  # another width after each report: recorded anew
        ("rounds=2", "checkpoint_every=20"),  # other advantages half-way: recorded anew
        ("objective=m2po",),
    ],
)
def test_a_recorded_update_is_the_update(gipo, cartpole_log, tmp_path, settings):
    found = {}
    for recorded in ("true", "false"):
        flags = [flag for setting in settings for flag in _flags(setting)]
        outcome = gipo(
            "train", "--dataset", cartpole_log, "--out", tmp_path / recorded, "--device", "cuda", "--steps", "60",
            "--set", "critic_steps=50", "--set", "report_every=20", "--set", f"cuda_graph={recorded}", *flags,
            "--quiet",
        )  # fmt: skip
        assert outcome.exit_code == 0, outcome.stderr
        lines = (tmp_path / recorded / "metrics.jsonl").read_text().splitlines()
        found[recorded] = [json.loads(line) for line in lines]
    for mine, other in zip(found["true"], found["false"], strict=True):
        for name in ("loss", "kl", "anchor"):  # float32 sums whose order kernels may choose anew, over 60 updates
            assert mine[name] == pytest.approx(other[name], rel=1e-3, abs=1e-5)


def _flags(setting):
    name, _, value = setting.partition("=")
    return (f"--{name}", value) if name in ("objective", "sigma") else ("--set", setting)


def test_updates_between_reports_never_wait_for_the_gpu():
    from gipo_cli.config import TrainConfig
    from gipo_cli.objectives.gipo import gipo
    from gipo_cli.policies.policy import Policy, PolicySpec
    from gipo_cli.training.recorded import WARM_UP, RecordedUpdates
    from gipo_cli.training.samples import to_samples
    from gipo_cli.training.state import begun
    from gipo_cli.training.update import Batch
    from tests.benchmarks import made_up

    device = torch.device("cuda")
    config, samples = TrainConfig("made-up", steps=1000), to_samples(made_up.log(3_000), 0.1, 0, device)
    policy = Policy(PolicySpec("gaussian", samples.observation.shape[1], samples.action.shape[1])).to(device)
    now = begun(config, policy, torch.randn(3_000, device=device), {"warm_start": {"kl": 0.0}}, None)
    update, rows = RecordedUpdates(config, device), torch.arange(1024, device=device)
    try:
        for step in range(40):
            torch.cuda.set_sync_debug_mode("error" if step > WARM_UP else "default")
            update(now, Batch(gipo, {"sigma": 1.0}, now.advantage, samples, rows))
            now.step += 1
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert update._step._replay is not None


def test_members_of_an_ensemble_are_their_single_runs(gipo, cartpole_log, tmp_path):
    flags = ("--dataset", cartpole_log, "--device", "cuda", "--steps", "60", "--quiet", "--set", "critic_steps=50",
             "--set", "report_every=20")  # fmt: skip
    assert gipo("train", *flags, "--out", tmp_path / "all", "--seeds", "0-2").exit_code == 0
    for seed in range(3):
        assert gipo("train", *flags, "--out", tmp_path / f"alone-{seed}", "--seed", str(seed)).exit_code == 0
        (member,) = (tmp_path / "all").glob(f"*seed-{seed}*")
        mine, other = (
            [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
            for run in (member, tmp_path / f"alone-{seed}")
        )
        for one, two in zip(mine, other, strict=True):  # batched products sum in another order, over 60 updates
            assert one["loss"] == pytest.approx(two["loss"], rel=1e-3, abs=1e-5)
            assert one["kl"] == pytest.approx(two["kl"], rel=1e-3, abs=1e-5)


def test_members_side_by_side_on_cuda_agree_with_those_on_the_cpu(gipo, cartpole_log, tmp_path):
    found = {}
    for device in ("cpu", "cuda"):
        outcome = gipo(
            "train", "--dataset", cartpole_log, "--seeds", "0-2", "--sigma", "0.5,2", "--out", tmp_path / device,
            "--device", device, "--steps", "50", "--set", "critic_steps=50", "--json", "--quiet",
        )  # fmt: skip
        assert outcome.exit_code == 0, outcome.stderr
        found[device] = [member["held_out"] for member in json.loads(outcome.stdout)["members"]]
    # As of a single run: sums differ by float32 rounding, grown over 100 updates.
    for ours, theirs in zip(found["cuda"], found["cpu"], strict=True):
        assert ours == pytest.approx(theirs, rel=0.05, abs=1e-3)
