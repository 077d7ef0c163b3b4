import json

from gipo_cli.registry import ESTIMATORS


def test_every_estimator_has_formula_and_source(gipo):
    entries = json.loads(gipo("estimators", "--json").stdout)["estimators"]
    assert [entry["name"] for entry in entries] == list(ESTIMATORS.places)
    assert all("J = " in entry["formula"] and "20" in entry["source"] for entry in entries)
    assert entries[-1]["settings"] == {"horizon": 0}


def test_text_fits_80_columns(gipo):
    lines = gipo("estimators").stdout.splitlines()
    assert lines[0] == "drl            no settings"
    assert max(map(len, lines)) <= 80
