"""The whole path on a GPU."""

import json

import pytest
import torch


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device on this machine")
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
