"""Docstrings and settings are read from source, and are those of the function itself."""

import inspect
import subprocess
import sys

import pytest

from gipo_cli.declarations import Declaration, declaration, in_source
from gipo_cli.errors import SettingError
from gipo_cli.registry import ADVANTAGES, ESTIMATORS, OBJECTIVES, Registry
from gipo_cli.settings import settings_of

LISTED = [(registry, name) for registry in (OBJECTIVES, ADVANTAGES, ESTIMATORS) for name in registry.places]


@pytest.mark.parametrize(("registry", "name"), LISTED, ids=[name for _, name in LISTED])
def test_the_source_says_what_the_function_does(registry, name):
    function = registry.load(name)
    itself = Declaration(inspect.getdoc(function), settings_of(function))
    assert in_source(*registry.places[name].split(":")) == itself


def test_listing_loads_nothing_heavy():
    code = (
        "import sys; from gipo_cli.cli import app\n"
        "for name in ('objectives', 'advantages', 'estimators'): app([name], standalone_mode=False)\n"
        "print([name for name in ('torch', 'scipy', 'h5py') if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "[]\n")
    assert all(f"\n{name} " in f"\n{done.stdout}" for _, name in LISTED)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Import what `write` puts into a package of somebody else's; importing the package itself is noticed."""
    place = tmp_path / "their_plugin"
    place.mkdir()
    monkeypatch.syspath_prepend(tmp_path)

    def write(source, init="raise AssertionError('imported')"):
        (place / "__init__.py").write_text(init)
        (place / "loss.py").write_text(source)
        return Registry("objective", {"theirs": "their_plugin.loss:theirs"})

    yield write
    for name in [name for name in sys.modules if name.split(".")[0] == "their_plugin"]:
        del sys.modules[name]


PLAIN = '''
import a_library_that_takes_long
@a_library_that_takes_long.mark
def theirs(x, a, /, b=3, *, width: float = -2, c=0.5, needed):
    """A loss.

        loss = x

    Source: them
    """
'''


def test_nothing_is_imported_for_what_the_source_shows(package):
    found = declaration(package(PLAIN), "theirs")
    assert found == Declaration("A loss.\n\n    loss = x\n\nSource: them", {"width": -2.0, "c": 0.5})


@pytest.mark.parametrize(
    "source",
    [
        "WIDTH = 2.5\ndef theirs(x, *, width=WIDTH):\n    'A loss.'",
        "class Loss:\n    'A loss.'\n    def __call__(self, x, *, width=2.5): ...\ntheirs = Loss()",
        "if True:\n    def theirs(x, *, width=2.5):\n        'A loss.'",
        "def theirs(x, *, width=9): ...\ndef theirs(x, *, width=2.5):\n    'A loss.'",
    ],
    ids=["default computed", "object called", "def under a condition", "two defs"],
)
def test_what_the_source_does_not_show_is_imported(package, source):
    assert declaration(package(source, init=""), "theirs") == Declaration("A loss.", {"width": 2.5})


def test_errors_are_those_of_importing(package):
    with pytest.raises(SyntaxError):
        declaration(package("def theirs(:", init=""), "theirs")
    with pytest.raises(ModuleNotFoundError, match="not_there_at_all"):
        declaration(Registry("objective", {"theirs": "not_there_at_all.loss:theirs"}), "theirs")
    with pytest.raises(SettingError, match="objective 'gip'"):
        declaration(OBJECTIVES, "gip")
