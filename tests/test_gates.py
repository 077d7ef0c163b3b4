"""The grammar of gates, the values they find, and what each command does with them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gipo_cli.errors import SettingError
from gipo_cli.gates import GateError, enforce, find, flatten, judge, parse_gates, require_known

DOCUMENT = {
    "run": "runs/a",
    "splits": {
        "all": {"raw": {"ess_fraction": 0.4}},
        "held_out": {"raw": {"ess_fraction": 0.2}, "quantiles": {"0.01": 1}},
    },
    "offline": {"gain": {"lower": None}},
    "certified": True,
    "verdict": "distrust",
    "methods": [{"method": "gipo", "iqm": 55.0}, {"method": "gipo sigma=0.5", "iqm": 51.0}],
    "seeds": [3, 4],
}


def held(expression):
    (found,) = judge(parse_gates([expression]), DOCUMENT)
    return found["held"]


@pytest.mark.parametrize(
    ("expression", "holds"),
    [
        ("splits.held_out.raw.ess_fraction < 0.3", False),
        ("splits.held_out.raw.ess_fraction<0.2", True),
        ("held_out.raw.ess_fraction <= 2e-1", False),  # so much of the path as leaves one
        ("splits.all.raw.ess_fraction > 0.3", False),
        ("splits.all.raw.ess_fraction >= 0.41", True),
        ("quantiles.0.01 == 1", False),
        ("quantiles.0.01 != 1", True),
        ("certified == false", True),
        ("certified != true", True),
        ("run == 'runs/a'", False),
        ("run == runs/b", True),
        ("methods.gipo.iqm < 55", True),
        ("methods.gipo sigma=0.5.iqm < 52", False),
        ("seeds.1 > 3", False),
        ("offline.gain.lower < 0", False),  # what is not known passes no gate
        ("offline.gain.lower >= 0", False),
        ("offline.gain.lower == 0", False),
        ("offline.gain.lower == null", False),
        ("offline.gain.lower != null", True),
        ("run == null", True),
        ("certified == True", False),  # words in any case, as Python and YAML have them
        ("certified == FALSE", True),
        ("run == RUNS/A", False),
        ("offline.gain.lower == NULL", False),
        ("gain.lower.by_episode > 0", False),  # below what is not known
    ],
)
def test_a_gate_holds_unless_its_expression_is_true_of_the_value(expression, holds):
    assert held(expression) is holds


@pytest.mark.parametrize(
    ("expression", "message", "hint"),
    [
        ("ess_fraction", "is no comparison", "Expected KEY OPERATOR VALUE"),
        ("< 0.3", "is no comparison", "Expected KEY OPERATOR VALUE"),
        ("ess_fraction = 0.3", "is no comparison", "operators: <= >= == != < >"),
        ("ess_fraction => 0.3", "has no operator that there is", "Operators: <= >= == != < >"),
        ("ess_fraction < high", "high is no finite number, which < compares", "with == and !="),
        ("ess_fraction < nan", "nan is no finite number", "with == and !="),
        ("ess_fraction > true", "true is no finite number", "with == and !="),
    ],
)
def test_what_is_no_gate_is_refused_before_any_work(expression, message, hint):
    with pytest.raises(SettingError) as refused:
        parse_gates([expression])
    assert message in refused.value.message
    assert hint in refused.value.hint


@pytest.mark.parametrize(
    ("expression", "message", "hint"),
    [
        ("raw.ess_fraction < 0.3", "2 values are called raw.ess_fraction.", "Say which: splits.all.raw.ess_fraction, "),
        ("held_out.raw.es_fraction < 0.3", "the result has no held_out.raw.es_fraction.",
         "Did you mean splits.held_out.raw.ess_fraction or splits.all.raw.ess_fraction?"),
        ("xyz < 0.3", "the result has no xyz.", "--json shows the keys there are."),
        ("run < 3", "run is a word, and 3.0 a number.", ""),
        ("certified < 0.5", "certified is true or false, and 0.5 a number.", ""),
        ("certified == yes", "certified is true or false, and 'yes' a word.", ""),
        ("seeds.0 == three", "seeds.0 is a number, and 'three' a word.", ""),
        ("verdict == untrusted", "there is no verdict 'untrusted'.", "Did you mean 'trust'?"),
    ],
)  # fmt: skip
def test_a_key_that_names_no_number_is_a_usage_error(expression, message, hint):
    with pytest.raises(SettingError) as refused:
        judge(parse_gates([expression]), DOCUMENT)
    assert message in refused.value.message
    assert hint in refused.value.hint


def test_what_failed_is_said_with_its_value():
    expressions = ["offline.gain.lower < 0", "held_out.raw.ess_fraction < 0.3", "seeds.0 > 5", "certified == true"]
    judged = judge(parse_gates(expressions), DOCUMENT)
    with pytest.raises(GateError) as failed:
        enforce(judged)
    assert failed.value.exit_code == 4
    assert failed.value.message == "3 of 4 gates did not hold."
    assert failed.value.hint.splitlines() == [
        "offline.gain.lower is not known: --fail-if 'offline.gain.lower < 0'",
        "splits.held_out.raw.ess_fraction is 0.2: --fail-if 'held_out.raw.ess_fraction < 0.3'",
        "certified is true: --fail-if 'certified == true'",
    ]
    enforce([gate for gate in judged if gate["held"]])


@given(st.recursive(st.integers() | st.none(), lambda inner: st.lists(inner) | st.dictionaries(st.text("ab"), inner)))
def test_every_value_of_a_document_has_a_path_that_finds_it(document):
    def leaves(value):
        if isinstance(value, dict | list):
            return sum(map(leaves, value.values() if isinstance(value, dict) else value))
        return 1

    values = flatten(document)
    assert len(values) <= leaves(document)  # names of a stranger's dictionary may hold dots and collide; ours do not
    for path in values:
        assert find(path, values, "") == path
    require_known([], {})


def test_items_that_share_a_name_go_by_number():
    assert flatten({"runs": [{"log": "a", "x": 1}, {"log": "a", "x": 2}]})["runs.1.x"] == 2


def test_a_gate_that_means_nothing_is_known_before_the_work():
    kinds = {"held_out.kl": float, "status": str, "certificate.certified": bool}
    require_known(parse_gates(["kl > 1", "status != finished", "certified == false", "status == null"]), kinds)
    for expression in ("status > 1", "certified < 0.5", "kl == high", "status == done", "kll > 1"):
        with pytest.raises(SettingError):
            require_known(parse_gates([expression]), kinds)


def test_an_exact_key_is_never_taken_for_one_below_what_is_not_known():
    document = {"held_out": {"kl": 1.0}, "x": {"held_out": None}}
    assert judge(parse_gates(["held_out.kl > 0.5"]), document)[0]["value"] == 1.0
    assert judge(parse_gates(["a.score.lower < 0"]), {"score": None, "a": {"score": {"lower": 3}}})[0]["held"]


def test_of_work_that_has_not_ended_a_key_it_lacks_is_not_known():
    (found,) = judge(parse_gates(["held_out.kl > 1"]), {"status": "interrupted"}, partial=True)
    assert (found["value"], found["held"]) == (None, False)
