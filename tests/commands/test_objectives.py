import json

from gipo_cli.registry import OBJECTIVES


def test_every_objective_has_formula_and_source(gipo):
    entries = json.loads(gipo("objectives", "--json").stdout)["objectives"]
    assert [entry["name"] for entry in entries] == list(OBJECTIVES.places)
    assert all(entry["formula"].startswith("loss = ") and entry["source"] for entry in entries)
    assert entries[0]["settings"] == {"sigma": 1.0, "sigma_negative_ratio": 1.0}


def test_text_fits_80_columns(gipo):
    lines = gipo("objectives").stdout.splitlines()
    assert "no-clip        no settings" in lines and max(map(len, lines)) <= 80
