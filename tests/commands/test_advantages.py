import json

from gipo_cli.registry import ADVANTAGES


def test_every_advantage_has_formula_and_source(gipo):
    entries = json.loads(gipo("advantages", "--json").stdout)["advantages"]
    assert [entry["name"] for entry in entries] == list(ADVANTAGES.places)
    assert all(" = " in entry["formula"] and "arXiv:" in entry["source"] for entry in entries)


def test_text_fits_80_columns(gipo):
    lines = gipo("advantages").stdout.splitlines()
    assert lines[0] == "path-consistency no settings"
    assert max(map(len, lines)) <= 80
