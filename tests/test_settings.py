"""Settings of anything: the keyword-only arguments of a function, with the ranges that they declare."""

import pytest

from gipo_cli.errors import SettingError
from gipo_cli.registry import ADVANTAGES, OBJECTIVES
from gipo_cli.settings import Fraction, Positive, resolve, settings_of


def thing(samples, *, updates: int, share: Fraction = 0.5, width: Positive = 2.0):
    """A thing with one argument that is no setting, as it has no default."""


def test_settings_are_the_keyword_only_arguments_with_a_default():
    assert settings_of(thing) == {"share": 0.5, "width": 2.0}
    assert resolve("thing", "it", thing, {"share": "1"}) == {"share": 1.0, "width": 2.0}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"share": 1.5}, "share of the thing 'it' is 1.5; expected a number from 0 to 1."),
        ({"width": "0"}, "width of the thing 'it' is 0.0; expected a number above 0."),
        ({"width": "wide"}, "width of the thing 'it' is 'wide', which is not a number."),
        ({"width": "inf"}, "width of the thing 'it' is inf; expected a finite number."),
        ({"updates": 1}, "the thing 'it' has no setting 'updates'."),
        ({"widht": 1}, "the thing 'it' has no setting 'widht'."),
    ],
)
def test_what_is_refused_says_what_was_expected(given, message):
    with pytest.raises(SettingError) as refused:
        resolve("thing", "it", thing, given)
    assert refused.value.message == message


def test_the_nearest_setting_is_suggested():
    with pytest.raises(SettingError) as refused:
        resolve("thing", "it", thing, {"widht": 1})
    assert refused.value.hint == "Did you mean 'width'? It has: share=0.5, width=2.0."


def test_no_setting_of_an_objective_is_one_of_an_advantage():
    """`--set name=value` names no side, so a name that both had could reach one of them only."""
    names = [{name for thing in r.places for name in settings_of(r.load(thing))} for r in (OBJECTIVES, ADVANTAGES)]
    assert names[0].isdisjoint(names[1])
