"""The verdict on policies that are known to be better, worse and the same, and what is refused."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from gipo_cli.errors import DataError
from gipo_cli.evaluation.offline import JUDGES, Question, crossed_folds, decide, judge, own_folds, together
from gipo_cli.evaluation.refusals import FEWEST_EPISODES, Support, support
from gipo_cli.registry import ESTIMATORS
from gipo_cli.training.samples import to_samples
from tests.advantages.corridor import DISCOUNT, RIGHT, coin, corridor_log, exact, silent
from tests.evaluation.chains import chain, evidence_of_everything

CARRIED = Support(100, 10_000, 0.5, 0.02, 0.3, 5, 400, 1000)


def true_value(log, right):
    return exact(right)[0][log.observations[log.episode_starts[:-1]].argmax(-1)].mean()


@pytest.fixture(scope="module")
def log():
    return corridor_log(240)


def asked(log, right, folds=crossed_folds, **question):
    samples = to_samples(log, 0.3, 0, torch.device("cpu"))
    return judge(
        Question(coin(right), samples, log.action_space, folds(samples), DISCOUNT, **question), silent, updates=120
    )


@pytest.fixture(scope="module")
def of_right(log):
    """The documents of policies that go right so often, each made once."""
    return cache(lambda right: asked(log, right))


@pytest.mark.parametrize(("right", "verdict"), [(0.75, "better"), (0.45, "not better"), (RIGHT, "cannot be known")])
def test_the_verdict_is_the_truth_and_the_intervals_hold_it(log, of_right, right, verdict):
    found = of_right(right)
    assert found["verdict"] == verdict
    truth, own = true_value(log, right), true_value(log, RIGHT)
    assert found["value"]["lower"] < truth < found["value"]["upper"]
    assert found["behaviour"]["lower"] < own < found["behaviour"]["upper"]
    assert found["gain"]["lower"] < truth - own < found["gain"]["upper"]
    assert found["gain"] == together(found["estimators"], "gain")
    assert found["gain"]["mean"] == pytest.approx(found["value"]["mean"] - found["behaviour"]["mean"])
    assert found["episodes"] == 240
    assert found["over_start"] is None


def test_held_out_episodes_alone_answer_for_the_log_that_trained(log):
    found = asked(log, 0.75, own_folds)
    assert found["episodes"] == 72
    assert found["verdict"] == "better"


def test_an_episode_in_which_the_version_changes_is_of_none(log):
    samples = to_samples(log, 0.3, 0, torch.device("cpu"))
    home = torch.ones_like(samples.home)
    home[torch.tensor(log.episode_starts[3])] = False  # the first step of one episode is another policy's
    mixed = replace(samples, home=home)
    ((learned, answering),) = own_folds(mixed)
    found = torch.cat([learned, answering])
    assert set(samples.episode[found].tolist()) == set(range(log.episodes)) - {3}
    assert len(found) == len(samples.reward) - log.episode_lengths[3]


def test_a_higher_level_is_a_wider_interval(log, of_right):
    narrow, wide = of_right(0.75)["gain"], asked(log, 0.75, level=0.99)["gain"]
    assert narrow["mean"] == wide["mean"]
    assert wide["lower"] < narrow["lower"] < narrow["upper"] < wide["upper"]


def test_the_same_seed_gives_the_same_document(log, of_right):
    assert asked(log, 0.75) == of_right(0.75)


@pytest.mark.parametrize(("start", "verdict"), [(0.6, "better"), (0.75, "cannot be known")])
def test_the_policy_that_training_began_at_is_compared_with_on_the_same_episodes(log, start, verdict):
    found = asked(log, 0.75, start=coin(start))["over_start"]
    assert found["verdict"] == verdict
    truth = true_value(log, 0.75) - true_value(log, start)
    assert found["gain"]["lower"] - 1e-6 <= truth <= found["gain"]["upper"] + 1e-6
    if start == 0.75:  # itself: not a number of it differs
        assert found["gain"] == {"mean": 0.0, "lower": 0.0, "upper": 0.0}


def test_every_estimator_answers_or_says_why_not(of_right):
    found = of_right(0.75)
    assert set(found["estimators"]) == set(ESTIMATORS.places)
    for estimate in found["estimators"].values():
        known = estimate["value"]["mean"] is not None
        assert known == (estimate["refused"] is None) == (estimate["interval"] is not None)


def test_too_few_episodes_are_refused():
    found = asked(corridor_log(9), 0.75)
    assert found["verdict"] == "cannot be known"
    assert found["reason"] == f"9 episodes to estimate on are too few; {FEWEST_EPISODES} are needed"
    assert found["gain"] == {"mean": None, "lower": None, "upper": None}
    log = corridor_log(2)
    samples = to_samples(log, 0.3, 0, torch.device("cpu"))
    nobody = [(samples.held_in_rows, samples.held_in_rows[:0])]
    with pytest.raises(DataError, match="too few whole episodes of one policy to learn on some"):
        judge(Question(coin(0.7), samples, log.action_space, nobody, DISCOUNT), silent, updates=2)


@pytest.mark.parametrize(
    ("carried", "rests_on", "reason"),
    [
        ({}, "whole products", "products of ratios leave enough episodes up to step 5 only, and step 1,000 is needed"),
        ({}, "products", "products of ratios leave enough episodes up to step 5 only, and step 400 is needed"),
        ({"reach": 400}, "products", ""),
        ({"reach": 1000}, "whole products", ""),
        ({}, "marginal weights", ""),
        ({}, "values", ""),
        ({"marginal_ess_fraction": 0.04}, "marginal weights", "only 4% of the steps count where the policy goes"),
        ({"marginal_ess_fraction": 0.04}, "values", "only 4% of the steps count where the policy goes"),
        (
            {"marginal_pareto_k": 1.2},
            "marginal weights",
            "the tail of the marginal weights has Pareto k 1.20: a mean of them never settles",
        ),
        (
            {"marginal_negative_share": 0.15},
            "marginal weights",
            "15% of the marginal weights are negative, which no visits are",
        ),
        ({"episodes": 3}, "values", "3 episodes to estimate on are too few; 10 are needed"),
    ],
)
def test_what_is_refused_by_what_it_rests_on(carried, rests_on, reason):
    assert replace(CARRIED, **carried).refuses(rests_on) == reason


def test_how_far_the_log_carries():
    process = chain()
    policy, behaviour = np.array([[0.8, 0.2], [0.3, 0.7]]), np.full((2, 2), 0.5)
    evidence, _ = evidence_of_everything(process, policy, behaviour)
    found = support(evidence)
    assert (found.episodes, found.transitions) == (len(evidence.starts), len(evidence.reward))
    weight = np.abs(evidence.marginal_weight)
    assert found.marginal_ess_fraction == pytest.approx(weight.sum() ** 2 / (weight**2).sum() / len(weight))
    assert (found.reach, found.needed, found.longest) == (3, 3, 3)
    # All that is earned is earned at the first step: nothing beyond it is needed.
    first = replace(evidence, reward=np.where(evidence.step == 0, 1.0, 0.0), value_after=np.zeros(len(evidence.reward)))
    assert support(first).needed == 1


def gains(drl, fqe, refused=None):
    found = {
        name: {"gain": {"mean": (lower + upper) / 2, "lower": lower, "upper": upper}, "refused": None}
        for name, (lower, upper) in zip(JUDGES, (drl, fqe), strict=True)
    }
    found["drl"]["refused"] = refused
    return found


@pytest.mark.parametrize(
    ("estimates", "verdict", "reason"),
    [
        (gains((1, 3), (2, 5)), "better", "the intervals of drl and fqe are above 0"),
        (gains((-3, -1), (-2, -1)), "not better", "the intervals of drl and fqe are below 0"),
        (gains((1, 3), (-1, 5)), "cannot be known", "the interval of the gain holds 0"),
        (gains((1, 3), (-3, -1)), "cannot be known", "the interval of the gain holds 0"),
        (gains((1, 3), (2, 5), "a reason"), "cannot be known", "a reason"),
    ],
)
def test_what_is_decided(estimates, verdict, reason):
    assert decide(estimates, together(estimates, "gain"), CARRIED) == (verdict, reason)


def test_the_judges_together_hold_both_intervals():
    assert together(gains((1, 3), (2, 6)), "gain") == {"mean": 3.0, "lower": 1, "upper": 6}
    nothing = {"gain": {"mean": 1.0, "lower": None, "upper": None}, "refused": None}
    lone = {"drl": gains((1, 3), (2, 6))["drl"], "fqe": nothing}
    assert together(lone, "gain") == {"mean": None, "lower": None, "upper": None}
    assert decide(lone, together(lone, "gain"), CARRIED) == ("cannot be known", "the estimates have no interval")


def test_a_heavy_tail_is_said_beside_the_verdict():
    estimates = gains((1, 3), (2, 5))
    carried = replace(CARRIED, marginal_pareto_k=0.8)
    assert decide(estimates, together(estimates, "gain"), carried) == (
        "better",
        "the intervals of drl and fqe are above 0; "
        "but the tail of the marginal weights is heavy: Pareto k 0.80, above 0.70",
    )
