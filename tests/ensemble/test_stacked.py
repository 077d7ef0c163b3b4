"""An update of members side by side is what each would have done alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gipo_cli.data.trajectories import ActionSpace
from gipo_cli.ensemble import stacked as side_by_side
from gipo_cli.ensemble.stacked import Member, Stacked, clip_each, stack
from gipo_cli.objectives.traits import has_trait
from gipo_cli.policies.policy import Policy, PolicySpec
from gipo_cli.registry import OBJECTIVES
from gipo_cli.runs import RunDirectory
from gipo_cli.settling import settle
from gipo_cli.training.anchor import Anchor, Anchors
from gipo_cli.training.loop import TRAIN_ORDER
from gipo_cli.training.order import RowsSideBySide, ShuffledRows
from gipo_cli.training.samples import to_samples, with_held_out
from gipo_cli.training.state import Training, begun, contents
from tests.benchmarks import made_up, updates

CPU = torch.device("cpu")
ROWS, UPDATES = 2_500, 60
# float32: products of matrices side by side are summed in another order than one by one. Adam divides by the size of
# the gradient, so what rounding (1e-7 of it) does to a step is as much of the learning rate, 1e-3, unless a gradient is
# nothing but rounding; none here is, and 60 steps move the weights by 0.06.
APART = 1e-5


def log_of(convention):
    """The made-up log with actions of another kind."""
    log = made_up.log(ROWS)
    if convention == "tanh_gaussian":
        bounds = np.full(made_up.ACTION, 1.0)
        return replace(
            log, actions=np.tanh(log.actions), pre_squash_actions=log.actions, convention=convention,
            action_space=ActionSpace((made_up.ACTION,), -bounds, bounds),
            behaviour_log_probs=log.behaviour_log_probs - np.log1p(-(np.tanh(log.actions) ** 2) + 1e-7).sum(1),
        )  # fmt: skip
    if convention == "categorical":
        choices = np.random.default_rng(0).integers(4, size=ROWS)
        space = ActionSpace((), None, None, n=4)
        logs = np.full(ROWS, -np.log(4), np.float32)
        return replace(log, actions=choices, convention=convention, action_space=space, behaviour_log_probs=logs)
    return log


def members(log, configs):
    """A member of each configuration, with an untrained policy and advantages of its own."""
    shared = to_samples(log, 0.1, configs[0].seed, CPU)
    found = []
    for config in configs:
        torch.manual_seed(config.seed)
        outputs = 4 if log.convention == "categorical" else made_up.ACTION
        policy = Policy(PolicySpec(log.convention, made_up.OBSERVATION, outputs, (16,), "tanh"))
        policy.observation_mean.normal_()
        advantage = torch.randn(ROWS)
        samples = with_held_out(shared, log, 0.1, config.seed)
        now = begun(config, policy, advantage, {"warm_start": {"kl": 0.01 * config.seed}}, None)
        found.append(Member(f"seed-{config.seed}", config, RunDirectory(None), samples, now))
    return found


def configs(objective="gipo", sigmas=(0.3, 1.0, 2.0), **values):
    """Seeds 0, 1, ... with these widths; None leaves the objective's own settings."""
    return [
        settle(
            {"dataset": "made-up", "seed": seed, "batch_size": 64, "steps": 100, "learning_rate": 1e-3, **values},
            [("objective", objective), *([] if sigma is None else [("sigma", sigma)])], "this test",
        )
        for seed, sigma in enumerate(sigmas)
    ]  # fmt: skip


def train_together(found, first=0, last=UPDATES):
    stacks = stack(OBJECTIVES.load(found[0].config.objective), found)
    for stacked in stacks:
        for step in range(first, last):
            stacked.update(step)
        stacked.tell(last)
    return stacks


def train_alone(found):
    for member in found:
        updates.update_of(member.config, member.samples, member.now)(UPDATES)


def tensors(now: Training):
    return {f"{group}/{name}": value for group, of in contents(now)[0].items() for name, value in of.items()}


def assert_same_trainings(together, alone):
    for ours, theirs in zip(together, alone, strict=True):
        assert contents(ours.now)[1] == contents(theirs.now)[1]  # learning rate, spec, facts
        assert ours.now.step == theirs.now.step
        mine, other = tensors(ours.now), tensors(theirs.now)
        assert mine.keys() == other.keys()
        for name, value in mine.items():
            torch.testing.assert_close(
                value, other[name], rtol=1e-4, atol=APART, msg=lambda text, n=name: f"{n}: {text}"
            )


@pytest.mark.parametrize("convention", ["gaussian", "tanh_gaussian", "categorical"])
def test_members_of_other_seeds_and_sigmas_are_what_they_are_alone(convention):
    log = log_of(convention)
    together, alone, start = (members(log, configs()) for _ in range(3))
    train_together(together)
    train_alone(alone)
    assert_same_trainings(together, alone)
    moved = [(a.now.policy.fc0.weight - b.now.policy.fc0.weight).abs().max() for a, b in zip(alone, start, strict=True)]
    assert min(moved) > 1000 * APART


def test_the_anchor_looks_at_the_rows_that_are_home_to_each():
    """As of a log by several policies, of which seeds may start from different ones, trained on with stale_rows."""

    def at_home(found):
        for member in found:
            home = torch.arange(ROWS) % 5 > member.config.seed
            member.samples = replace(member.samples, home=home)
        return found

    together, alone = (at_home(members(log_of("gaussian"), configs(stale_rows=True))) for _ in range(2))
    train_together(together)
    train_alone(alone)
    assert_same_trainings(together, alone)


ALIKE = [name for name in OBJECTIVES.places if not has_trait(OBJECTIVES.load(name), "natural") and name != "gipo"]


@pytest.mark.parametrize("objective", ALIKE)
def test_every_objective_without_a_step_of_its_own_can_be_trained_side_by_side(objective):
    has_sigma = objective.startswith("gipo-")
    asked = configs(objective, sigmas=(0.5, 2.0) if has_sigma else (None, None))
    together, alone = (members(log_of("gaussian"), asked) for _ in range(2))
    train_together(together)
    train_alone(alone)
    assert_same_trainings(together, alone)


def test_stacked_again_from_where_they_stand_members_end_in_the_same_bytes():
    whole, halves = (members(log_of("gaussian"), configs()) for _ in range(2))
    train_together(whole)
    train_together(halves, 0, 25)
    train_together(halves, 25)
    for a, b in zip(whole, halves, strict=True):
        mine, other = tensors(a.now), tensors(b.now)
        assert all(torch.equal(value, other[name]) for name, value in mine.items())


def test_members_in_several_stacks_are_what_they_are_alone_too(monkeypatch):
    monkeypatch.setattr(side_by_side, "ROWS_ON_CPU", 2 * 64)
    together, alone = (members(log_of("gaussian"), configs()) for _ in range(2))
    assert [len(stacked.members) for stacked in train_together(together)] == [2, 1]
    train_alone(alone)
    assert_same_trainings(together, alone)


def test_one_that_is_not_finite_leaves_the_others_alone():
    sound, struck = (members(log_of("gaussian"), configs()) for _ in range(2))
    with torch.no_grad():
        struck[1].now.policy.fc0.bias[0] = torch.nan
    train_together(sound)
    train_together(struck)
    assert not torch.isfinite(struck[1].now.policy.fc0.weight).all()
    for k in (0, 2):
        mine, other = tensors(sound[k].now), tensors(struck[k].now)
        assert all(torch.equal(value, other[name]) for name, value in mine.items())


def test_loss_and_kl_are_summed_for_each():
    found = members(log_of("gaussian"), configs())
    (stacked,) = train_together(found, 0, 1)
    fresh = members(log_of("gaussian"), configs())
    not_updated = Stacked(OBJECTIVES.load("gipo"), fresh)
    for k, member in enumerate(fresh):
        loss, kl, _ = not_updated.batch_of(k).losses(member.now.policy, not_updated.rows[k])
        torch.testing.assert_close(stacked.sums[k], torch.stack([loss, kl]).detach(), rtol=1e-5, atol=1e-6)


def test_a_sigma_that_a_report_has_steered_is_the_next_updates_own():
    asked = configs(sigmas=(1.0, 1.0), steer_sigma="kl")
    found = members(log_of("gaussian"), asked)
    stacked = Stacked(OBJECTIVES.load("gipo"), found)
    found[1].now.width.state.fill_(-2.0)
    stacked.take_sigma()
    stacked.update(0)
    fresh = members(log_of("gaussian"), asked)
    fresh[1].now.width.state.fill_(-2.0)
    not_updated = Stacked(OBJECTIVES.load("gipo"), fresh)
    for k, member in enumerate(fresh):
        loss, _, _ = not_updated.batch_of(k).losses(member.now.policy, not_updated.rows[k])
        torch.testing.assert_close(stacked.sums[k, 0], loss.detach(), rtol=1e-5, atol=1e-6)


def test_each_gradient_is_shortened_to_its_own_length_alone():
    torch.manual_seed(0)
    stacked = [torch.zeros(3, 4, 5, requires_grad=True), torch.zeros(3, 4, requires_grad=True)]
    for parameter in stacked:
        parameter.grad = torch.randn_like(parameter) * torch.tensor([0.01, 1.0, 9.0]).view(
            3, *[1] * (parameter.dim() - 1)
        )
    singles = [[torch.nn.Parameter(torch.zeros_like(p[k])) for p in stacked] for k in range(3)]
    for k, single in enumerate(singles):
        for parameter, of_all in zip(single, stacked, strict=True):
            parameter.grad = of_all.grad[k].clone()
        torch.nn.utils.clip_grad_norm_(single, 1.0)
    before = stacked[0].grad[0].clone()
    clip_each(stacked, 1.0)
    assert torch.equal(stacked[0].grad[0], before)  # short enough
    for k, single in enumerate(singles):
        for parameter, of_all in zip(single, stacked, strict=True):
            torch.testing.assert_close(of_all.grad[k], parameter.grad)


def test_anchors_side_by_side_steer_as_each_alone_and_one_that_is_off_stays():
    targets, kl = (0.0, 0.1, 2.0), torch.tensor([0.5, 0.5, 0.5])
    alone = [Anchor.start(target, CPU) for target in targets]
    side_by_side = Anchors(torch.tensor(targets), torch.stack([anchor.state for anchor in alone]))
    for _ in range(5):
        side_by_side.steer(kl)
        for anchor in alone:
            anchor.steer(kl[0])
    torch.testing.assert_close(side_by_side.state, torch.stack([anchor.state for anchor in alone]))
    torch.testing.assert_close(side_by_side.coefficient, torch.stack([anchor.coefficient for anchor in alone]))
    assert side_by_side.coefficient[0] == 0


def test_rows_side_by_side_are_those_of_each_order_from_any_step():
    orders = [ShuffledRows(torch.arange(n), 4, seed, TRAIN_ORDER) for seed, n in enumerate((23, 40))]
    side_by_side = RowsSideBySide(orders, at_once=3)
    for step in (*range(14), 5, 100, 2):
        expected = torch.stack([order.batch(step) for order in orders])
        assert torch.equal(side_by_side.batch(step), expected)


def test_held_out_episodes_of_another_seed_are_those_of_the_log_read_for_it():
    log = log_of("gaussian")
    other = with_held_out(to_samples(log, 0.1, 0, CPU), log, 0.1, 5)
    own = to_samples(log, 0.1, 5, CPU)
    for name in ("held_out", "held_in_rows", "held_out_rows", "home", "observation"):
        assert torch.equal(getattr(other, name), getattr(own, name))
