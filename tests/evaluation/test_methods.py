"""Which runs are seeds of one method, and what it is called."""

import pytest

from gipo_cli.errors import SettingError
from gipo_cli.evaluation.methods import method_values, name_methods


def values(**config):
    return method_values({"settings": {"sigma": 1.0}, "objective": "gipo", **config})


def test_a_seed_a_log_and_a_machine_make_no_method():
    same = [
        values(seed=0, dataset="a", threads=1, device="cpu"),
        values(seed=1, dataset="b", threads=2, repair=["sum"]),
    ]
    assert name_methods(same) == ["gipo", "gipo"]


def test_what_differs_is_in_the_name_and_a_setting_only_within_its_objective():
    runs = [
        values(),
        values(settings={"sigma": 0.5}),
        values(objective="ppo-clip", settings={"epsilon": 0.2}),
        values(kl_target=0.1),
    ]
    assert name_methods(runs) == [
        "gipo sigma=1 kl_target=0.5",
        "gipo sigma=0.5 kl_target=0.5",
        "ppo-clip kl_target=0.5",
        "gipo sigma=1 kl_target=0.1",
    ]
    assert name_methods(runs, ["objective"]) == ["gipo", "gipo", "ppo-clip", "gipo"]
    assert name_methods(runs, ["sigma"]) == ["sigma=1", "sigma=0.5", "no sigma", "sigma=1"]


def test_what_an_older_version_did_not_write_has_its_default():
    assert name_methods([values(), values(ess_base=0.0), values(ess_base=0)]) == ["gipo"] * 3
    assert name_methods([values(), values(advantage_settings={})]) == ["gipo"] * 2


def test_settings_of_the_advantage_tell_methods_apart_too():
    runs = [values(advantage="expectile", advantage_settings={"expectile": x}) for x in (0.7, 0.9)]
    assert name_methods(runs) == ["gipo expectile=0.7", "gipo expectile=0.9"]


def test_values_that_look_alike_are_told_apart():
    assert name_methods([values(kl_target=0.1), values(kl_target=0.1 + 1e-12)]) == [
        "gipo kl_target=0.10000000000000001",
        "gipo kl_target=0.10000000000100001",
    ]
    assert name_methods([values(init="/a/x/run"), values(init="/b/x/run"), values()]) == [
        "gipo init=/a/x/run",
        "gipo init=/b/x/run",
        "gipo init=none",
    ]


def test_by_knows_only_settings_that_the_runs_have():
    with pytest.raises(SettingError, match="there is no setting 'epsilon'"):
        name_methods([values()], ["epsilon"])
