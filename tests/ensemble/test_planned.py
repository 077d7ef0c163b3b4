"""Which members a command names, and what is said of one that names none or too many."""

import pytest

from gipo_cli.ensemble.planned import MOST, plan, require_one_size, require_together
from gipo_cli.errors import SettingError
from gipo_cli.settling import settle


def planned(seeds, sigma=None, **values):
    return plan(seeds, sigma, lambda more: settle({"dataset": "log", **values}, more, "gipo train"))


def test_every_seed_comes_with_every_sigma_and_is_named_for_both():
    found = planned("0-1,7", "0.5,2.0,auto")
    assert [member.name for member in found][:4] == [
        "seed-0-sigma-0.5", "seed-0-sigma-2", "seed-0-sigma-auto", "seed-1-sigma-0.5",
    ]  # fmt: skip
    assert [(m.config.seed, m.config.settings["sigma"], m.config.steer_sigma) for m in found][-3:] == [
        (7, 0.5, ""), (7, 2.0, ""), (7, 1.0, "kl"),
    ]  # fmt: skip


def test_what_is_not_given_is_of_the_settings_and_not_of_the_name():
    assert [(m.name, m.config.seed) for m in planned("3", None, seed=9)] == [("seed-3", 3)]
    assert [(m.name, m.config.seed) for m in planned(None, "1,2", seed=9)] == [
        ("seed-9-sigma-1", 9),
        ("seed-9-sigma-2", 9),
    ]


def test_two_widths_that_are_almost_one_have_names_of_their_own():
    assert [m.name for m in planned("0", "0.1,0.1000000001")] == ["seed-0-sigma-0.1", "seed-0-sigma-0.1000000001"]


@pytest.mark.parametrize(
    ("seeds", "sigma", "said", "hint"),
    [
        ("a", None, "--seeds 'a': 'a' is no seed.", "Write it as in --seeds 0-7 or --seeds 0,2,5-9."),
        ("1,", None, "--seeds '1,': '' is no seed.", "Write it as in --seeds 0-7 or --seeds 0,2,5-9."),
        ("-1", None, "--seeds '-1': '-1' is no seed.", "Write it as in --seeds 0-7 or --seeds 0,2,5-9."),
        ("3-1", None, "--seeds '3-1': 3-1 counts down.", "Did you mean 1-3?"),
        ("0-3,2", None, "--seeds '0-3,2' names 2 twice.", "Name each once: every member has a directory."),
        (
            "0-100000", None, "--seeds '0-100000' are 100,001 members; at most 512 are trained together.",
            "Give fewer, or have them trained one by one: gipo batch JOBS.toml.",
        ),
        (
            f"0-{MOST - 1}", "1,2", "512 seeds with 2 sigmas are 1,024 members; at most 512 are trained together.",
            "Give fewer, or have them trained one by one: gipo batch JOBS.toml.",
        ),
        ("0", "1,1.0", "--sigma '1,1.0' names 1 twice.", "Name each once: every member has a directory."),
        ("0", "1,wide", "--sigma '1,wide': 'wide' is no width.", "Write it as in --sigma 0.5,1,2."),
        ("0", "wide", "sigma of the objective 'gipo' is 'wide', which is not a number.", None),
        ("0", "1,-2", "sigma of the objective 'gipo' is -2.0; expected a number above 0.", None),
        ("9999999999999999999", None, "seed is 9999999999999999999; expected a number 0 or above.", None),
    ],
)  # fmt: skip
def test_a_list_that_is_none_is_named(seeds, sigma, said, hint):
    with pytest.raises(SettingError) as error:
        planned(seeds, sigma)
    assert error.value.message == said
    assert hint in (None, error.value.hint)


BY_BATCH = "gipo batch JOBS.toml trains them one by one, with seed = [0, 1, 2, 3, ...] in the [matrix] of its file."


@pytest.mark.parametrize(
    ("values", "natural", "why"),
    [
        ({"patience": 3}, False, "patience=3 ends each member at a step of its own"),
        ({"rounds": 2}, False, "rounds=2 fits values anew for each as it moves"),
        ({"ratios": "per-dimension"}, False, "ratios=per-dimension has ratios of another shape"),
        ({"ess_base": 0.5}, False, "ess_base=0.5 gives each a learning rate of its own"),
        ({"objective": "trpo"}, True, "the objective 'trpo' takes the natural gradient's step, a search of its own"),
        ({"estimate_behaviour": True}, False, "--estimate-behaviour makes another log of this one for each seed"),
    ],
)
def test_what_cannot_be_trained_together_is_left_to_batch(values, natural, why):
    with pytest.raises(SettingError) as error:
        require_together(planned("0-7", **values), natural)
    assert error.value.message == f"these members cannot be trained as one ensemble: {why}."
    assert error.value.hint == BY_BATCH


def test_one_seed_with_several_sigmas_shares_an_estimated_log():
    require_together(planned("0", "0.5,1", estimate_behaviour=True), natural=False)


def test_batches_of_two_sizes_are_refused_and_of_one_are_not():
    members = planned("0-1", batch_size=100)
    require_one_size(members, [100, 900])
    require_one_size(members, [60, 60])
    with pytest.raises(SettingError) as error:
        require_one_size(members, [900, 60])
    assert error.value.message == (
        "these members cannot be trained as one ensemble: seed-1 trains on 60 rows, fewer than a batch of 100, and "
        "others on more."
    )
    assert error.value.hint == (
        "Give --set batch_size=60 or less. Or: gipo batch JOBS.toml trains them one by one, with seed = [0, 1] in the "
        "[matrix] of its file."
    )
