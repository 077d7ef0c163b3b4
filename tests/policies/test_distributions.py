import math

import pytest
import torch
from torch.distributions import Categorical, Independent, Normal, TransformedDistribution
from torch.distributions.transforms import TanhTransform

from gipo_cli.policies import distributions


def moments(rows=50, size=3):
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(rows, size, generator=generator, dtype=torch.float64)
    log_std = 0.5 * torch.randn(rows, size, generator=generator, dtype=torch.float64)
    noise = torch.randn(rows, size, generator=generator, dtype=torch.float64)
    return mean, log_std, mean + log_std.exp() * noise


def test_gaussian_is_the_sum_of_normals():
    mean, log_std, action = moments()
    expected = Independent(Normal(mean, log_std.exp()), 1).log_prob(action)
    torch.testing.assert_close(distributions.gaussian_log_prob(mean, log_std, action), expected)


def test_tanh_gaussian_is_the_transformed_normal():
    mean, log_std, drawn = moments()
    squashed = TransformedDistribution(Normal(mean, log_std.exp()), TanhTransform(cache_size=1))
    # log(1 - a^2) of the cached transform and ours differ by float64 rounding near |a| = 1 only.
    torch.testing.assert_close(
        distributions.tanh_gaussian_log_prob(mean, log_std, drawn),
        Normal(mean, log_std.exp()).log_prob(drawn).sum(-1)
        - squashed.transforms[0].log_abs_det_jacobian(drawn, torch.tanh(drawn)).sum(-1),
    )
    expected = squashed.log_prob(torch.tanh(drawn)).sum(-1)
    # Here u comes back through atanh, which loses digits as |a| nears 1.
    torch.testing.assert_close(
        distributions.tanh_gaussian_log_prob(mean, log_std, drawn), expected, rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize(("mean", "log_std"), [(0.0, -0.5), (0.8, 0.0), (-0.8, -0.2)])
def test_tanh_density_integrates_to_one_over_actions(mean, log_std):
    # Evenly spaced actions, from below -1 to above 1 by no more than rounding; the density vanishes at the ends.
    edge = 1 - 1e-9
    action = torch.linspace(-edge, edge, 400_001, dtype=torch.float64)[:, None]
    log_prob = distributions.tanh_gaussian_log_prob(
        torch.full_like(action, mean), torch.full_like(action, log_std), torch.atanh(action)
    )
    # The trapezium rule misses most where the density is steep, near the ends: 1e-4 covers it.
    assert torch.trapezoid(log_prob.exp(), action[:, 0]).item() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tanh_log_prob_is_finite_and_right_far_out(dtype):
    u = torch.tensor([[-30.0], [30.0]], dtype=dtype, requires_grad=True)
    zero = torch.zeros(2, 1, dtype=dtype)
    found = distributions.tanh_gaussian_log_prob(zero, zero, u)
    # log(1 - tanh(u)^2) tends to 2 (log 2 - |u|).
    expected = -(30.0**2) / 2 - 0.5 * math.log(2 * math.pi) - 2 * (math.log(2) - 30)
    torch.testing.assert_close(found.detach(), torch.full((2,), expected, dtype=dtype))
    (gradient,) = torch.autograd.grad(found.sum(), u)
    torch.testing.assert_close(gradient, torch.tensor([[30.0 - 2], [-30.0 + 2]], dtype=dtype))


def test_actions_at_the_very_bound_have_a_finite_log_prob():
    u = distributions.pre_squash(torch.tensor([[-1.0], [1.0]]))
    torch.testing.assert_close(u, torch.tensor([[-8.66], [8.66]]), rtol=0, atol=0.01)
    assert torch.isfinite(distributions.tanh_gaussian_log_prob(torch.zeros(2, 1), torch.zeros(2, 1), u)).all()


def test_categorical_is_log_softmax_of_the_choice():
    generator = torch.Generator().manual_seed(0)
    logits = 5 * torch.randn(50, 4, generator=generator)
    action = torch.randint(4, (50,), generator=generator)
    found = distributions.categorical_log_prob(logits, action)
    torch.testing.assert_close(found, Categorical(logits=logits).log_prob(action))
    assert (found <= 0).all()
