"""The learning rate falls at the end, and where few samples of a batch count."""

import math

import pytest
import torch

from gipo_cli.config import TrainConfig
from gipo_cli.errors import SettingError
from gipo_cli.training.update import scheduled_rate, set_learning_rate, slow_down


def rate(step=0, ratios=(1.0, 3.0), kept=float, **settings):
    config = TrainConfig(dataset="log", steps=100, learning_rate=0.5, **settings)
    optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=kept(config.learning_rate))
    set_learning_rate(optimizer, scheduled_rate(config, step))
    if config.ess_base:
        slow_down(optimizer, config.ess_base, torch.tensor(ratios).log())
    return optimizer.param_groups[0]["lr"]


@pytest.mark.parametrize(("step", "expected"), [(0, 0.5), (80, 0.5), (90, 0.25), (99, 0.025)])
def test_it_is_constant_and_falls_over_the_last_fifth(step, expected):
    assert rate(step) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("base", "share"),
    [
        (0.0, 1.0),
        (1.0, 0.8),  # (1 + 3)^2 / (2 (1 + 9))
        (0.9, 0.8 / 0.9),
        (0.5, 1.0),  # more of the batch counts than has to
    ],
)
def test_it_goes_with_the_root_of_the_effective_sample_size(base, share):
    assert rate(ess_base=base) == pytest.approx(0.5 * math.sqrt(share))
    assert rate(90, ess_base=base) == pytest.approx(0.25 * math.sqrt(share))


def test_a_rate_that_is_a_tensor_is_changed_in_place():
    # As on a GPU, where a recorded update reads it where it was; float32 keeps seven digits.
    assert rate(90, ess_base=1.0, kept=torch.tensor).item() == pytest.approx(rate(90, ess_base=1.0), rel=1e-6)


def test_a_common_factor_of_the_ratios_does_not_matter():
    assert rate(ratios=(1e30, 3e30), ess_base=1.0) == pytest.approx(rate(ess_base=1.0))


@pytest.mark.parametrize("base", [-0.1, 1.5, math.nan])
def test_a_share_out_of_its_range_is_refused(base):
    with pytest.raises(SettingError, match="ess_base is"):
        rate(ess_base=base)
