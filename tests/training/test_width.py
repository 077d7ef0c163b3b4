"""Sigma that is steered to a target."""

import json
import math

import pytest
import torch

from gipo_cli.config import TrainConfig
from gipo_cli.errors import SettingError
from gipo_cli.settling import settle
from gipo_cli.training.width import BOUNDS, Width, require_width


def config(**settings):
    return TrainConfig(dataset="log", settings={"sigma": 1.0}, **settings)


def sigma_after(figures, start_kl=0.0, **settings):
    width = Width.start(config(**settings), start_kl)
    for found in figures:
        width.steer(found)
    return width.settings({"sigma": 1.0, "other": 3.0})


@pytest.mark.parametrize(
    ("settings", "start_kl", "expected"),
    [
        ({"steer_sigma": "kl", "kl_target": 0.5}, 0.0, 1.0),  # v = 2 * 0.5
        ({"steer_sigma": "kl", "kl_target": 0.5}, 1.5, 2.0),  # what the clone fell short by is added to the target
        ({"steer_sigma": "kl", "kl_target": 0.5}, -0.1, 1.0),
        ({"steer_sigma": "ess", "ess_target": math.exp(-0.25)}, 0.0, 0.5),
        ({}, 0.0, 1.0),  # left alone
    ],
)
def test_it_starts_at_the_spread_that_a_normal_log_ratio_has_at_the_target(settings, start_kl, expected):
    assert sigma_after([], start_kl, **settings) == {"sigma": pytest.approx(expected), "other": 3.0}


@pytest.mark.parametrize(
    ("kl", "change"),
    [(0.5, 0.0), (1.0, 0.5 * math.log(0.5)), (50.0, -0.5), (0.25, 0.1 * math.log(2)), (0.0, 0.1), (-0.01, 0.1)],
)
def test_a_step_goes_by_what_is_missing_and_narrows_faster_than_it_widens(kl, change):
    found = sigma_after([{"kl": kl, "ess_fraction": 0.5}], steer_sigma="kl", kl_target=0.5)
    assert found["sigma"] == pytest.approx(math.exp(change))


def test_the_effective_share_is_read_as_the_kl_that_goes_with_it():
    figures = [{"kl": 0.0, "ess_fraction": share} for share in (math.exp(-0.5), 0.0, 1.0)]
    by_kl = [{"kl": 0.25, "ess_fraction": 0}, {"kl": 14.0, "ess_fraction": 0}, {"kl": 0.0, "ess_fraction": 0}]
    by_ess = sigma_after(figures, steer_sigma="ess", ess_target=math.exp(-1.0))
    assert by_ess["sigma"] == pytest.approx(sigma_after(by_kl, steer_sigma="kl", kl_target=0.5)["sigma"])


def test_it_stays_within_bounds():
    far, near = {"kl": 1e9, "ess_fraction": 0.0}, {"kl": 0.0, "ess_fraction": 1.0}
    assert sigma_after([far] * 100, steer_sigma="kl")["sigma"] == pytest.approx(BOUNDS[0])
    assert sigma_after([near] * 100, steer_sigma="kl")["sigma"] == pytest.approx(BOUNDS[1])


def test_resuming_goes_on_where_it_was():
    width = Width.start(config(steer_sigma="kl"), 0.0)
    width.steer({"kl": 3.0, "ess_fraction": 0.5})
    again = Width.resume(config(steer_sigma="kl"), 0.0, width.state.clone())
    for one in (width, again):
        one.steer({"kl": 0.1, "ess_fraction": 0.5})
    assert torch.equal(width.state, again.state)


def test_what_cannot_be_steered_is_refused():
    with pytest.raises(SettingError) as refused:
        require_width(TrainConfig(dataset="log", objective="ppo-clip", settings={"epsilon": 0.2}, steer_sigma="kl"))
    assert refused.value.message == "--sigma auto: the objective 'ppo-clip' has no sigma."
    with pytest.raises(SettingError) as refused:
        require_width(config(steer_sigma="kl", kl_target=0.0))
    assert refused.value.message == "--sigma auto steers to --kl-target, which is 0."
    with pytest.raises(SettingError, match="'kll'"):
        config(steer_sigma="kll")


TRAIN = ("--steps", "200", "--set", "critic_steps=300", "--set", "learning_rate=1e-3", "--set", "report_every=10",
         "--set", "certify=false", "--json", "--quiet")  # fmt: skip


def test_two_targets_lead_to_two_distances_and_the_run_keeps_the_sigma_it_reached(gipo, cartpole_log, tmp_path):
    reached = {}
    for target in (0.01, 0.1):
        place = tmp_path / f"{target}"
        outcome = gipo(
            "train", "--dataset", cartpole_log, "--out", place, "--sigma", "auto", "--kl-target", target, *TRAIN
        )
        assert outcome.exit_code == 0, outcome.stderr
        summary = json.loads(outcome.stdout)
        last = json.loads((place / "metrics.jsonl").read_text().splitlines()[-1])
        assert last["anchor"] == 0
        assert summary["settings"]["sigma"] == json.loads((place / "run.json").read_text())["settings"]["sigma"] != 1.0
        assert "sigma" in last
        inspected = json.loads(gipo("inspect-weights", place, "--json").stdout)
        bound = inspected["splits"]["all"]["trust_weighted"]["bound"]
        assert bound == pytest.approx(math.exp(summary["settings"]["sigma"] ** 2 / 2))
        reached[target] = summary["held_out"]["kl"]
    assert reached[0.01] < 0.5 * reached[0.1]


def test_a_width_that_is_named_is_not_steered_whatever_the_file_says():
    file = {"dataset": "log", "steer_sigma": "kl"}
    assert settle(file, [("sigma", 0.5)], "file").steer_sigma == ""
    assert settle(file, [("kl_target", 0.3)], "file").steer_sigma == "kl"


def test_a_width_that_is_named_with_its_steering_is_refused():
    with pytest.raises(SettingError) as refused:
        settle({"dataset": "log"}, [("steer_sigma", "ess"), ("sigma", 0.5)], "file")
    assert refused.value.message == (
        "sigma=0.5 and steer_sigma=ess rule each other out: what is steered begins at its target."
    )
    assert refused.value.hint == "Leave one of them out."
