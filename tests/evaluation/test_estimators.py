"""Estimators against the value by dynamic programming: counted by their chances, all episodes give expectations."""

from dataclasses import replace

import numpy as np
import pytest

from gipo_cli.evaluation.estimators import Evidence
from gipo_cli.evaluation.estimators.magic import least_error
from gipo_cli.registry import ESTIMATORS
from tests.evaluation.chains import chain, evidence_of_everything

POLICY = np.array([[0.8, 0.2], [0.3, 0.7]])
BEHAVIOUR = np.array([[0.4, 0.6], [0.5, 0.5]])
NEVER_WRONG = ("is", "pdis", "wis", "wpdis", "dr", "wdr")  # whatever Q and the marginal weights are
EXACT = 1e-12  # sums of a few hundred float64 numbers of order 1


def wrong_quality(process, seed):
    """Any Q at all, 0 where nothing follows."""
    found = np.random.default_rng(seed).normal(0, 3, (process.limit + 1, 2, 2))
    found[-1] = 0
    return found


def expectation(name, evidence, chances, **settings):
    return ESTIMATORS.load(name)(evidence, **settings).of_counts(chances[None])[0]


@pytest.mark.parametrize("name", [name for name in ESTIMATORS.places if name != "truncated"])
def test_with_all_that_is_true_every_estimator_gives_the_value(name):
    process = chain()
    evidence, chances = evidence_of_everything(process, POLICY, BEHAVIOUR)
    assert chances.sum() == pytest.approx(1, abs=EXACT)
    assert expectation(name, evidence, chances) == pytest.approx(process.value(POLICY), abs=EXACT)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", NEVER_WRONG)
def test_products_of_exact_ratios_need_no_true_q(name, seed):
    process = chain(seed)
    wrong = wrong_quality(process, seed)
    evidence, chances = evidence_of_everything(process, POLICY, BEHAVIOUR, wrong)
    assert expectation(name, evidence, chances) == pytest.approx(process.value(POLICY), abs=EXACT)


def test_double_reinforcement_learning_needs_one_of_its_two_to_be_true():
    process, wrong = chain(), wrong_quality(chain(), 0)
    evidence, chances = evidence_of_everything(process, POLICY, BEHAVIOUR, wrong)
    assert expectation("drl", evidence, chances) == pytest.approx(process.value(POLICY), abs=EXACT)
    true_q, chances = evidence_of_everything(process, POLICY, BEHAVIOUR)
    off = replace(true_q, marginal_weight=1.5 * true_q.marginal_weight)
    assert expectation("drl", off, chances) == pytest.approx(process.value(POLICY), abs=EXACT)
    both = replace(evidence, marginal_weight=0.5 * evidence.marginal_weight)
    assert abs(expectation("drl", both, chances) - process.value(POLICY)) > 0.01


def test_fitted_q_is_as_wrong_as_its_q():
    process = chain()
    evidence, chances = evidence_of_everything(process, POLICY, BEHAVIOUR, process.qualities(POLICY) + 0.25)
    assert expectation("fqe", evidence, chances) == pytest.approx(process.value(POLICY) + 0.25, abs=EXACT)


def test_a_horizon_of_whole_episodes_truncates_nothing_and_one_of_a_step_takes_the_behaviours_states():
    process = chain()
    evidence, chances = evidence_of_everything(process, POLICY, BEHAVIOUR)
    assert expectation("truncated", evidence, chances, horizon=3) == pytest.approx(process.value(POLICY), abs=EXACT)
    states = process.visits(BEHAVIOUR).sum(-1) * process.discount ** np.arange(3)[:, None]
    biased = np.einsum("ts,sa,sa->", states, POLICY, process.reward)
    assert expectation("truncated", evidence, chances, horizon=1) == pytest.approx(biased, abs=EXACT)
    assert biased != pytest.approx(process.value(POLICY), abs=1e-3)


@pytest.mark.parametrize("name", ["is", "pdis", "wis", "wpdis", "dr", "wdr", "magic", "fqe"])
def test_an_episode_that_the_log_cut_goes_on_by_v(name):
    process = chain()
    evidence, chances = evidence_of_everything(process, POLICY, BEHAVIOUR, cut=2)
    assert evidence.lengths.max() == 2
    assert expectation(name, evidence, chances) == pytest.approx(process.value(POLICY), abs=EXACT)
    assert evidence.behaviour_returns @ chances == pytest.approx(process.value(BEHAVIOUR), abs=EXACT)


def test_an_episode_that_has_ended_keeps_its_weight():
    # Two episodes: one of a step that ends, with ratio 3; one of two steps, with ratio 1 and reward 1 at the second.
    columns = {name: np.zeros(3) for name in FIELDS}
    columns |= {
        "episode": np.array([0, 1, 1]),
        "log_ratio": np.log([3.0, 1.0, 1.0]),
        "reward": np.array([0.0, 0.0, 1.0]),
    }
    found = ESTIMATORS.load("wpdis")(Evidence(discount=1.0, **columns)).of_counts(np.ones((1, 2)))[0]
    assert found == pytest.approx(1 / 4, abs=EXACT)  # not 1, the mean over the survivor


@pytest.mark.parametrize("name", ESTIMATORS.places)
@pytest.mark.parametrize("size", [1e4, -1e4])
def test_log_ratios_of_ten_thousand_are_no_nan(name, size):
    rng = np.random.default_rng(0)
    columns = {name: rng.normal(size=40) for name in FIELDS}
    columns |= {"episode": np.repeat(np.arange(10), 4), "log_ratio": np.sign(size) * rng.uniform(0, abs(size), 40)}
    found = ESTIMATORS.load(name)(Evidence(discount=0.9, **columns)).of_counts(np.ones((1, 10)))[0]
    assert np.isfinite(found) or (name in ("is", "pdis", "dr", "truncated") and size > 0)


def test_a_horizon_beyond_any_log_and_a_blend_that_no_resample_gave_weight():
    evidence, chances = evidence_of_everything(chain(), POLICY, BEHAVIOUR)
    whole = expectation("truncated", evidence, chances, horizon=3)
    assert expectation("truncated", evidence, chances, horizon=1e20) == pytest.approx(whole)
    one = replace(evidence, log_ratio=np.where(evidence.episode == 0, 0.0, -1e4))
    assert np.isnan(expectation("magic", one, chances)) or np.isfinite(expectation("magic", one, chances))


def test_the_blend_with_the_least_error():
    # Uncorrelated: shares as the inverse of the variances; one that is correlated and larger gets nothing.
    assert least_error(np.diag([1.0, 2.0, 4.0])) == pytest.approx(np.array([4, 2, 1]) / 7, abs=1e-7)
    assert least_error(np.array([[1.0, 1.5], [1.5, 4.0]])) == pytest.approx([1, 0], abs=1e-7)
    rng = np.random.default_rng(0)
    root = rng.normal(size=(6, 6))
    error, share = root @ root.T, least_error(root @ root.T)
    others = rng.dirichlet(np.ones(6), 2000)
    assert (np.einsum("ni,ij,nj->n", others, error, others) >= share @ error @ share).all()


FIELDS = tuple(name for name in Evidence.__dataclass_fields__ if name != "discount")
