"""Weights by episode, by dimension of the action and by version of the behaviour policy."""

import numpy as np
import pytest

from gipo_cli.diagnostics.by_dimension import by_dimension
from gipo_cli.diagnostics.by_episode import by_episode
from gipo_cli.diagnostics.by_version import by_version, old_share
from gipo_cli.diagnostics.ess import ess_fraction
from gipo_cli.diagnostics.inspection import Weights, inspect
from gipo_cli.diagnostics.verdict import episodes_finding, old_finding


def test_an_episode_counts_by_the_sum_of_its_ratios():
    x, episode = np.log([1.0, 1.0, 2.0, 4.0, 4.0, 4.0]), np.array([3, 3, 5, 9, 9, 9])
    found = by_episode(x, episode)
    sums = np.array([2.0, 2.0, 12.0])
    assert found.ess_fraction == pytest.approx(sums.sum() ** 2 / (3 * (sums**2).sum()))
    assert found.ess_fraction_equal == pytest.approx(6**2 / (3 * (4 + 1 + 9)))
    first = found.heaviest[0]
    assert (first.episode, first.transitions, first.transition_share) == (9, 3, 0.5)
    assert first.weight_share == pytest.approx(12 / 16)
    assert first.kl == pytest.approx(-np.log(4))
    assert [each.episode for each in found.heaviest] == [9, 3, 5]


def test_the_sums_are_those_of_the_log_domain():
    rng = np.random.default_rng(0)
    x, episode = rng.normal(0, 30, 1000), np.repeat(np.arange(50), rng.multinomial(1000, np.full(50, 1 / 50)))
    starts = np.searchsorted(episode, np.arange(50))
    log_sum = np.logaddexp.reduceat(x, starts)
    found = by_episode(x, episode)
    assert found.ess_fraction == pytest.approx(ess_fraction(log_sum))
    shares = np.sort(np.exp(log_sum - np.logaddexp.reduce(log_sum)))[::-1]
    assert [each.weight_share for each in found.heaviest] == pytest.approx(shares[:5])


def test_ratios_of_ten_thousand_nats_are_one_episode():
    found = by_episode(np.array([0.0, 1e4, -1e4, 0.0]), np.arange(4))
    assert found.ess_fraction == pytest.approx(0.25)
    assert found.heaviest[0].weight_share == pytest.approx(1)


@pytest.mark.parametrize(("heavy", "level"), [(0.0, "ok"), (9.0, "warning")])
def test_few_episodes_that_decide_are_worried_about(heavy, level):
    x = np.zeros(400)
    x[:2] = heavy
    (found,) = episodes_finding(by_episode(x, np.repeat(np.arange(200), 2)))
    assert found.level == level
    # One long episode among 99 of a step has that effect alone: that is no fault of the ratios.
    (found,) = episodes_finding(
        by_episode(np.zeros(100_099), np.concatenate([np.zeros(100_000, int), 1 + np.arange(99)]))
    )
    assert found.level == "ok"


def test_dimensions_by_themselves_and_their_sum():
    parts = np.random.default_rng(0).normal([-0.1, -0.5, 0.0], [0.2, 1.0, 0.0], (1000, 3))
    found = by_dimension(parts)
    assert [each.dimension for each in found] == [0, 1, 2]
    assert sum(each.kl for each in found) == pytest.approx(-parts.sum(-1).mean())
    assert [each.ess_fraction for each in found] == pytest.approx([ess_fraction(parts[:, d]) for d in range(3)])
    assert found[2].std == 0 and found[2].ess_fraction == 1


def test_versions_and_the_older_half():
    rng = np.random.default_rng(0)
    version = np.repeat([0, 1, 2, 3], 100)
    x, advantage, weight = rng.normal(size=400), rng.normal(size=400), rng.uniform(0, 1, 400)
    found = by_version(x, advantage, weight, version)
    assert [(each.version, each.transitions) for each in found] == [(0, 100), (1, 100), (2, 100), (3, 100)]
    assert sum(each.weight_share for each in found) == pytest.approx(1)
    assert found[2].kl == pytest.approx(-x[200:300].mean())
    pull = weight * abs(advantage)
    assert found[2].gradient_share == pytest.approx(pull[200:300].sum() / pull.sum())
    share, gradient, transitions = old_share(found)  # ages 3, 2, 1, 0: old from 1.5 on
    assert transitions == 0.5
    assert share == pytest.approx(weight[:200].sum() / weight.sum())
    assert gradient == pytest.approx(pull[:200].sum() / pull.sum())
    assert old_share(found[:1]) == (0, 0, 0)
    nothing = by_version(x, advantage, np.zeros(400), version)
    assert nothing[0].weight_share is None and old_share(nothing)[0] is None


def test_old_data_is_a_note_where_there_is_any():
    assert old_finding(None) == []
    assert old_finding({"transition_share": 0.0, "weight_share": 0.0, "gradient_share": 0.0}) == []
    (found,) = old_finding({"transition_share": 0.5, "weight_share": 0.031, "gradient_share": 0.02})
    assert (found.level, found.value) == ("note", 0.031)
    assert found.meaning == "the older half of the versions has 50% of the steps and 3% of the weight."
    (found,) = old_finding({"transition_share": 0.5, "weight_share": 0.031, "gradient_share": 0.02}, trained_on=False)
    assert found.meaning.endswith("but training saw one version's steps alone (stale_rows=true takes all).")
    (found,) = old_finding({"transition_share": 0.5, "weight_share": None, "gradient_share": None})
    assert found.value is None


def test_a_document_with_versions_judges_home_and_lists_all():
    rng = np.random.default_rng(0)
    x = rng.normal(0, 0.3, 400)
    version = np.repeat([0, 1], 200)
    everyone = Weights(
        x, rng.normal(size=400), np.repeat(np.arange(40), 10), np.tile([False, True], 200), np.exp(x),
        np.stack([x / 3, 2 * x / 3], -1), version,
    )  # fmt: skip
    home = everyone.at(version == 1)
    assert home.version is not None and home.parts is not None
    assert (len(home.version), home.parts.shape) == (200, (200, 2))
    document = inspect(home, None, everyone=everyone)
    assert document["splits"]["all"]["transitions"] == 200
    assert [each["transitions"] for each in document["by_version"]["versions"]] == [200, 200]
    assert document["by_version"]["old"]["transition_share"] == 0.5
    assert [each["dimension"] for each in document["by_dimension"]] == [0, 1]
    assert inspect(everyone, None)["by_version"] is None
