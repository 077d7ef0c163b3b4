"""The table of contents: every name leads to a thing, and every command explains itself."""

import pytest

from gipo_cli.registry import ADVANTAGES, COMMANDS, ESTIMATORS, OBJECTIVES, READERS, WRITERS

ENTRIES = [
    (registry, name)
    for registry in (COMMANDS, READERS, WRITERS, OBJECTIVES, ADVANTAGES, ESTIMATORS)
    for name in registry.places
]


@pytest.mark.parametrize(("registry", "name"), ENTRIES, ids=[f"{r.kind}: {n}" for r, n in ENTRIES])
def test_every_entry_loads(registry, name):
    assert registry.load(name) is not None


@pytest.mark.parametrize("name", COMMANDS.places)
def test_every_command_has_help(gipo, name):
    outcome = gipo(*name.split(" "), "--help")
    assert outcome.exit_code == 0
    assert "--json" in outcome.stdout
    assert COMMANDS.load(name).__doc__.splitlines()[0][:30] in outcome.stdout
