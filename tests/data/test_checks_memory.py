"""The outcome of checks is found again in the cache, and nothing else is taken for it."""

import hashlib
import json
from dataclasses import replace

import pytest

from gipo_cli.data import checks
from gipo_cli.data.checks import log_probs, memory
from gipo_cli.data.checks.memory import remembered
from gipo_cli.data.findings import Finding
from tests.data.spoiling import gaussian

FOUND = [
    Finding("base-10", "error", float("inf"), "logs to base 10: \u03b2", "every ratio is wrong.", "base10", "a\nb"),
    Finding("several-policies", "warning", 0.1 + 0.2, "the policy changed."),
]


@pytest.fixture(autouse=True)
def checks_at_work(monkeypatch, tmp_path):
    """In place of the fixture that keeps other tests from the cache: one that is empty."""
    monkeypatch.setenv("GIPO_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def log():
    return gaussian(episodes=30)


class Find:
    """Counts how often it had to look."""

    times = 0

    def __call__(self):
        self.times += 1
        return FOUND


def kept(tmp_path):
    (path,) = (tmp_path / "cache" / "checks").iterdir()
    return path


def test_a_log_is_looked_at_once(log, monkeypatch):
    first = checks.check(log)
    assert [finding.name for finding in first] == ["log-probs"]
    monkeypatch.setattr(log_probs, "check_log_probs", lambda log: pytest.fail("looked again"))
    again = checks.check(replace(log, name="another name", source="elsewhere"))
    assert again == first
    with pytest.raises(pytest.fail.Exception):
        checks.check(replace(log, behaviour_log_probs=log.behaviour_log_probs * 2))


def test_findings_come_back_as_they_were(log):
    find = Find()
    assert [remembered(log, find) for _ in range(3)] == [FOUND] * 3
    assert find.times == 1


@pytest.mark.parametrize("changed", ["torch", "text"])
def test_another_program_looks_again(log, monkeypatch, changed):
    find = Find()
    remembered(log, find)
    memory._program.cache_clear()
    if changed == "torch":
        monkeypatch.setattr(memory, "version", lambda package: "99")
    else:
        monkeypatch.setattr(memory, "SOURCES", (*memory.SOURCES, "data/catalog.py"))
    remembered(log, find)
    memory._program.cache_clear()
    assert find.times == 2


def test_a_log_that_carries_its_policy_is_looked_at_every_time(log, tmp_path):
    find, carrying = Find(), replace(log, behaviour_weights=object())
    assert [remembered(carrying, find) for _ in range(2)] == [FOUND] * 2
    assert find.times == 2 and not (tmp_path / "cache").exists()


def signed(text):
    return hashlib.sha256(text).hexdigest().encode() + b"\n" + text


VALUES = {"name": "n", "severity": "ok", "value": 1.0, "meaning": "m", "effect": "", "repair": "", "hint": ""}
DAMAGE = {
    "empty": b"",
    "cut": lambda content: content[:-1],
    "another letter": lambda content: content.replace(b"changed", b"chanted"),
    "no checksum": lambda content: content.partition(b"\n")[2],
    "not JSON": signed(b"[" * 100_000),
    "not UTF-8": signed(b"\xff"),
    "longer than any": signed(b"[" + b" " * 2**21 + b"]"),
    "no list": signed(b"{}"),
    "no findings": signed(b"[1]"),
    "no value": signed(json.dumps([VALUES | {"value": "1"}]).encode()),
    "a severity that is none": signed(json.dumps([VALUES | {"severity": "fine"}]).encode()),
    "a severity that cannot be looked up": signed(json.dumps([VALUES | {"severity": []}]).encode()),
    "a field too many": signed(json.dumps([VALUES | {"more": ""}]).encode()),
    "a meaning that is no text": signed(json.dumps([VALUES | {"meaning": None}]).encode()),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damage_costs_time_and_nothing_else(log, tmp_path, damage):
    find = Find()
    remembered(log, find)
    path = kept(tmp_path)
    path.write_bytes(damage(path.read_bytes()) if callable(damage) else damage)
    assert [remembered(log, find) for _ in range(2)] == [FOUND] * 2
    assert find.times == 2  # and what was damaged is whole again


def test_a_cache_that_cannot_be_written_is_nobodys_trouble(log, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("GIPO_CACHE", str(tmp_path / "file"))
    assert remembered(log, Find()) == FOUND
