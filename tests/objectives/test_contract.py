"""What every objective owes the loop, and the published or derived values of each."""

import math

import pytest
import torch

from gipo_cli.errors import SettingError
from gipo_cli.objectives.effective_weight import PIECE, effective_weight, mean_effective_weight
from gipo_cli.objectives.settings import resolve
from gipo_cli.objectives.traits import has_trait
from gipo_cli.registry import OBJECTIVES

HAS = "It has: sigma=1.0, sigma_negative_ratio=1.0."
EVERY = pytest.mark.parametrize("name", OBJECTIVES.places)


def without(*traits):
    """Every objective that carries none of the traits."""
    names = [name for name in OBJECTIVES.places if not any(has_trait(OBJECTIVES.load(name), t) for t in traits)]
    return pytest.mark.parametrize("name", names)


def column(*values):
    return torch.tensor(values, dtype=torch.float64)


def samples(n=64):
    generator = torch.Generator().manual_seed(0)
    return (torch.randn(n, generator=generator, dtype=torch.float64) for _ in range(2))


@without("of_batch")
def test_samples_are_treated_alone(name):
    objective = OBJECTIVES.load(name)
    x, advantage = samples()
    alone = torch.cat([objective(x[i : i + 1], advantage[i : i + 1]) for i in range(64)])
    torch.testing.assert_close(objective(x, advantage), alone)


@without("imitates", "penalises")
def test_loss_is_proportional_to_the_size_of_the_advantage(name):
    objective = OBJECTIVES.load(name)
    x, advantage = samples()
    torch.testing.assert_close(objective(x, 7 * advantage), 7 * objective(x, advantage))


@EVERY
def test_no_gradient_reaches_the_advantage(name):
    x, advantage = samples()
    advantage.requires_grad_()
    OBJECTIVES.load(name)(x.requires_grad_(), advantage).sum().backward()
    assert advantage.grad is None


@without("imitates", "penalises")
def test_gradient_is_minus_weight_times_advantage(name):
    objective = OBJECTIVES.load(name)
    x, advantage = samples()
    weight = effective_weight(objective, x, advantage)
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(objective(x, advantage).sum(), x)
    torch.testing.assert_close(gradient, -weight * advantage)


RATIOS = (0.05, 0.2, 0.5, 0.8, 1, 1.2, 1.5, 2, 5, 20)
TABLE = [
    ("no-clip", {}, 1, RATIOS),
    ("ppo-clip", {}, 1, (0.05, 0.2, 0.5, 0.8, 1, 1.2, 0, 0, 0, 0)),
    ("ppo-clip", {}, -1, (0, 0, 0, 0.8, 1, 1.2, 1.5, 2, 5, 20)),
    ("sapo", {}, 1, (0.0402, 0.1711, 0.4700, 0.7921, 1, 1.1881, 1.4100, 1.5729, 0.3533, 0)),
    ("sapo", {}, -1, (0.0394, 0.1685, 0.4671, 0.7912, 1, 1.1869, 1.4012, 1.5362, 0.2911, 0)),
    ("sapo", {"tau_negative": 2}, -1, (0.0226, 0.1118, 0.3932, 0.7688, 1, 1.1533, 1.1797, 0.8399, 0.0067, 0)),
    ("gipo", {"sigma": 0.2}, 1, (0, 0, 0.0012, 0.4293, 1, 0.7920, 0.1921, 0.0049, 0, 0)),
    ("gipo", {"sigma": 0.5}, 1, (0, 0.0011, 0.1913, 0.7242, 1, 1.1228, 1.0797, 0.7651, 0.0281, 0)),
    ("gipo", {"sigma": 1}, -1, (0.0006, 0.0548, 0.3932, 0.7803, 1, 1.1802, 1.3816, 1.5729, 1.3693, 0.2250)),
    (
        "gipo",
        {"sigma": 1, "sigma_negative_ratio": 0.5},
        -1,
        (0, 0.0011, 0.1913, 0.7242, 1, 1.1228, 1.0797, 0.7651, 0.0281, 0),
    ),
    (
        "gipo",
        {"sigma": 0.5, "sigma_negative_ratio": 3},
        1,
        (0, 0.0011, 0.1913, 0.7242, 1, 1.1228, 1.0797, 0.7651, 0.0281, 0),
    ),
    ("gipo-laplacian", {}, 1, (0.0025, 0.04, 0.25, 0.64, 1, 1, 1, 1, 1, 1)),
    ("gipo-laplacian", {}, -1, (0.0025, 0.04, 0.25, 0.64, 1, 1, 1, 1, 1, 1)),
    ("gipo-cauchy", {}, 1, (0.0050, 0.0557, 0.3377, 0.7621, 1, 1.1614, 1.2882, 1.3509, 1.3926, 2.005)),
    ("gipo-cauchy", {}, -1, (0.0050, 0.0557, 0.3377, 0.7621, 1, 1.1614, 1.2882, 1.3509, 1.3926, 2.005)),
    ("dual-clip", {}, 1, (0.05, 0.2, 0.5, 0.8, 1, 1.2, 0, 0, 0, 0)),
    ("dual-clip", {}, -1, (0, 0, 0, 0.8, 1, 1.2, 1.5, 2, 0, 0)),
    ("truncated-is", {}, 1, (0.05, 0.2, 0.5, 0.8, 1, 1.2, 1.5, 2, 2, 2)),
    ("truncated-is", {}, -1, (0.05, 0.2, 0.5, 0.8, 1, 1.2, 1.5, 2, 2, 2)),
    ("cispo", {}, 1, (0.05, 0.2, 0.5, 0.8, 1, 1.2, 1.2, 1.2, 1.2, 1.2)),
    ("cispo", {"epsilon_low": 0.4, "epsilon_high": 4}, -1, (0.6, 0.6, 0.6, 0.8, 1, 1.2, 1.5, 2, 5, 5)),
    ("topr", {}, 1, (1, 1, 1, 1, 1, 1, 1, 1, 1, 1)),
    ("topr", {}, -1, (0.05, 0.2, 0.5, 0.8, 1, 1, 1, 1, 1, 1)),
    ("trpo", {}, -1, RATIOS),
    ("kl-penalty", {}, 1, RATIOS),
    ("kl-penalty", {}, -1, RATIOS),
    ("awr", {}, 1, (math.e,) * 10),
    ("awr", {"temperature": 2}, -1, (math.exp(-0.5),) * 10),
    ("awr", {"temperature": 0.1}, 1, (20,) * 10),
    ("bc", {}, -1, (1,) * 10),
    # Squares by rising size: 0 (ratio 1), 0.033 (1.2), 0.050 (0.8), 0.164 (1.5): means 0, 0.017, 0.028, 0.0618.
    ("m2po", {}, 1, (0, 0, 0, 0.8, 1, 1.2, 0, 0, 0, 0)),
    ("m2po", {"threshold": 0.0617}, -1, (0, 0, 0, 0.8, 1, 1.2, 0, 0, 0, 0)),
    ("m2po", {"threshold": 0.0619}, -1, (0, 0, 0, 0.8, 1, 1.2, 1.5, 0, 0, 0)),
    ("gipo", {"sigma": 2}, 1, (0.0163, 0.1447, 0.4709, 0.7950, 1, 1.1950, 1.4695, 1.8834, 3.617, 6.514)),
]


@pytest.mark.parametrize(("name", "settings", "sign", "expected"), TABLE)
def test_weights_at_reference_ratios(name, settings, sign, expected):
    x = column(*RATIOS).log()
    found = effective_weight(OBJECTIVES.load(name), x, torch.full_like(x, sign), **settings)
    torch.testing.assert_close(found, column(*expected), atol=6e-4, rtol=0)


@pytest.mark.parametrize(
    ("sigma", "v", "first", "second"),
    [(1, 1, 0.66427, 0.74133), (0.5, 1, 0.40466, 0.33333), (2, 4, 0.55070, 1.56940), (1, 4, 0.29978, 0.33333)],
)
def test_moments_under_log_normal_ratios(sigma, v, first, second):
    # Integrated on a grid: x ~ N(-v/2, v), for which E[ratio] = 1.
    x = torch.linspace(-60, 60, 200_001, dtype=torch.float64)
    density = torch.exp(-((x + v / 2) ** 2) / (2 * v)) / math.sqrt(2 * math.pi * v)
    weight = effective_weight(OBJECTIVES.load("gipo"), x, torch.ones_like(x), sigma=sigma)
    assert torch.trapezoid(weight * density, x).item() == pytest.approx(first, abs=1e-5)
    assert torch.trapezoid(weight**2 * density, x).item() == pytest.approx(second, abs=1e-5)


@pytest.mark.parametrize("size", [0.3, 2.0])
def test_the_penalty_pulls_towards_a_ratio_of_1_whatever_the_advantage(size):
    x = column(-1, 0, 0.5).requires_grad_()
    (gradient,) = torch.autograd.grad(
        OBJECTIVES.load("kl-penalty")(x, torch.full_like(x, size), coefficient=3).sum(), x
    )
    torch.testing.assert_close(gradient, -size * x.detach().exp() + 3 * (x.detach().exp() - 1))


def test_the_penalty_itself_is_kl_on_average():
    # x ~ N(-v/2, v) under beta: E[ratio - 1 - x] = v / 2 = KL(beta || pi), exactly.
    v, x = 0.8, torch.linspace(-20, 20, 100_001, dtype=torch.float64)
    density = torch.exp(-((x + v / 2) ** 2) / (2 * v)) / math.sqrt(2 * math.pi * v)
    penalty = OBJECTIVES.load("kl-penalty")(x, torch.zeros_like(x), coefficient=1)
    assert torch.trapezoid(penalty * density, x).item() == pytest.approx(v / 2, abs=1e-9)


def test_what_m2po_keeps_is_within_the_budget_and_one_more_would_not_be():
    x, advantage = samples()
    x = 0.3 * x
    weight = effective_weight(OBJECTIVES.load("m2po"), x, advantage)
    squares = x.square().sort().values
    kept = int((weight > 0).sum())
    assert 0 < kept < 64
    assert squares[:kept].mean() <= 0.04 < squares[: kept + 1].mean()
    assert x[weight > 0].square().max() <= x[weight == 0].square().min()


def test_wide_sigma_is_no_clip():
    x, advantage = samples()
    torch.testing.assert_close(
        OBJECTIVES.load("gipo")(x, advantage, sigma=1e6), OBJECTIVES.load("no-clip")(x, advantage)
    )


@pytest.mark.parametrize(
    ("name", "given", "message", "hint"),
    [
        ("gipo", {"sgima": 1}, "the objective 'gipo' has no setting 'sgima'.", "Did you mean 'sigma'? " + HAS),
        ("gipo", {"sigma": "abc"}, "sigma of the objective 'gipo' is 'abc', which is not a number.", HAS),
        ("gipo", {"sigma": "0"}, "sigma of the objective 'gipo' is 0.0; expected a number above 0.", ""),
        ("no-clip", {"sigma": 1}, "the objective 'no-clip' has no setting 'sigma'.", "It has none."),
        ("dual-clip", {"c": 1}, "c of the objective 'dual-clip' is 1.0; expected a number above 1.", ""),
        ("cispo", {"epsilon_low": 2}, "epsilon_low of the objective 'cispo' is 2.0; expected a number up to 1.", ""),
        ("gipo-cauchy", {"sigma": -1}, "sigma of the objective 'gipo-cauchy' is -1.0; expected a number above 0.", ""),
        ("m2po", {"threshold": 0}, "threshold of the objective 'm2po' is 0.0; expected a number above 0.", ""),
        ("trpo", {"radius": 0}, "radius of the objective 'trpo' is 0.0; expected a number above 0.", ""),
        ("awr", {"temperature": 0}, "temperature of the objective 'awr' is 0.0; expected a number above 0.", ""),
        ("ppo-clip", {"epsilon": 1}, "epsilon of the objective 'ppo-clip' is 1.0; expected a number below 1.", ""),
    ],
)  # fmt: skip
def test_wrong_settings_are_named(name, given, message, hint):
    with pytest.raises(SettingError) as refused:
        resolve(name, OBJECTIVES.load(name), given)
    assert (refused.value.message, refused.value.hint) == (message, hint)


@EVERY
def test_long_columns_are_weighed_as_short_ones(name):
    # In pieces, but for an objective whose weights depend on the batch. Vectors of pieces end elsewhere, so the last
    # digit of an exponential may differ.
    objective = OBJECTIVES.load(name)
    generator = torch.Generator().manual_seed(0)
    parts = torch.randn(PIECE // 2 + 9, 3, generator=generator, dtype=torch.float64)
    advantage = torch.randn(len(parts), generator=generator, dtype=torch.float64)
    whole = effective_weight(objective, parts.flatten(), advantage.repeat_interleave(3)).reshape(parts.shape).mean(-1)
    torch.testing.assert_close(mean_effective_weight(objective, parts, advantage), whole, rtol=1e-14, atol=0)
