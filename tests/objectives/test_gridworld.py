"""The authors' GridWorld: reference values that were computed independently of this code."""

import importlib.util
from pathlib import Path

import pytest

STUDY = Path(__file__).parents[2] / "examples" / "studies" / "gridworld.py"
specification = importlib.util.spec_from_file_location("gridworld", STUDY)
study = importlib.util.module_from_spec(specification)
specification.loader.exec_module(study)


@pytest.mark.parametrize(
    ("target", "value", "expected"),
    [
        ("PI-1", -3.584711, (-0.641529, 0.497926, -0.641529, 0.357446)),
        ("PI-2", -2.773754, (-0.722625, 0.233105, -0.722625, 0.128208)),
        ("PI-3", -2.320279, (-0.767972, 0.108119, -0.767972, 0.062542)),
    ],
)
def test_values_and_advantages(target, value, expected):
    found, advantage = study.advantages(target)
    assert found == pytest.approx(value, abs=1e-6)  # as many digits as the reference has
    assert advantage == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("estimator", "target", "behaviour", "bias", "variance"),
    [
        ("No-Clip", "PI-2", "A", 0, 0.0134),
        ("GIPO 0.1", "PI-2", "A", 0.0513, 0),
        ("GIPO 0.3", "PI-2", "A", 0.0527, 0.0008),
        ("GIPO 0.5", "PI-2", "A", 0.0447, 0.0041),
        ("GIPO 1", "PI-2", "A", 0.0191, 0.0094),
        ("GIPO 2", "PI-2", "A", 0.0056, 0.0122),
        ("PPO-Clip", "PI-2", "A", 0.0513, 0),
        ("SAPO", "PI-2", "A", 0.0161, 0.0100),
        ("No-Clip", "PI-3", "E", 0, 0.0047),
        ("GIPO 1", "PI-3", "E", 0.0248, 0.0020),
        ("GIPO 2", "PI-3", "E", 0.0104, 0.0036),
        ("SAPO", "PI-3", "E", 0.0132, 0.0022),
    ],
)
def test_bias_and_variance(estimator, target, behaviour, bias, variance):
    found = study.bias_and_variance(estimator, target, study.behaviour(behaviour, target))
    assert found == (pytest.approx(bias, abs=6e-5), pytest.approx(variance, abs=6e-5))  # four digits, rounded


def test_clipping_kills_the_gradient_wherever_the_target_has_moved_on():
    cases = [(target, name) for target in study.TARGETS for name in study.BEHAVIOURS]
    dead = [(t, n) for t, n in cases if study.dead("PPO-Clip", t, study.behaviour(n, t))]
    assert dead == [(t, n) for t, n in cases if (t != "PI-1" and n != "D") or (t, n) == ("PI-1", "E")]
    others = [e for e in study.ESTIMATORS if e != "PPO-Clip"]
    assert not any(study.dead(e, t, study.behaviour(n, t)) for e in others for t, n in cases)


@pytest.mark.parametrize(("samples", "name", "cases"), [(1, "GIPO 0.1", 16), (64, "No-Clip", 9), (4096, "No-Clip", 14)])
def test_more_samples_favour_less_damping(samples, name, cases):
    wins = [
        name in study.best(target, study.behaviour(mu, target), samples)
        for target in study.TARGETS
        for mu in study.BEHAVIOURS
        if mu != "D"
    ]
    assert sum(wins) == cases
