import math

import pytest
import torch

from gipo_cli.errors import SettingError
from gipo_cli.objectives.effective_weight import effective_weight
from gipo_cli.objectives.gipo import gipo
from gipo_cli.registry import OBJECTIVES


@pytest.mark.parametrize("name", OBJECTIVES.places)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_on_policy_gradient_is_minus_advantage_and_far_out_is_finite(name, dtype):
    objective, advantage = OBJECTIVES.load(name), torch.tensor([-2.0, 0.0, 1.0], dtype=dtype)
    for at in (0.0, 1e4, -1e4):
        x = torch.full((3,), at, dtype=dtype, requires_grad=True)
        loss = objective(x, advantage)
        (gradient,) = torch.autograd.grad(loss.sum(), x)
        assert torch.isfinite(loss).all() and torch.isfinite(gradient).all()
        if at == 0:
            expected = {"awr": advantage.exp(), "bc": torch.ones_like(advantage)}.get(name, advantage)
            torch.testing.assert_close(gradient, -expected)


def test_peak_is_at_sigma_squared():
    x = torch.tensor([0.25], dtype=torch.float64)
    assert effective_weight(gipo, x, torch.ones(1), sigma=0.5).item() == pytest.approx(math.exp(0.125))


@pytest.mark.parametrize("name", ["gipo", "gipo-laplacian", "gipo-cauchy"])
def test_widths_keep_the_precision_of_the_ratios(name):
    x, sigma = torch.tensor([3.0], dtype=torch.float64), 0.1  # no float32 number
    weight = effective_weight(OBJECTIVES.load(name), x, -torch.ones(1), sigma=0.3, sigma_negative_ratio=sigma / 0.3)
    kernel = {"gipo": math.exp(-450), "gipo-laplacian": math.exp(-30), "gipo-cauchy": 1 / 901}[name]
    assert weight.item() == pytest.approx(math.exp(3) * kernel, rel=1e-10)  # float32's 0.1 is 1.5e-8 off


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.nan])
def test_sigma_is_validated(sigma):
    with pytest.raises(SettingError, match="sigma"):
        gipo(torch.zeros(1), torch.ones(1), sigma=sigma)
