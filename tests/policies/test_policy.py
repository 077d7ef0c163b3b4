import json
import math
from dataclasses import replace

import pytest
import torch
from torch.distributions import Categorical, Normal, kl_divergence

from gipo_cli.policies.policy import Policy, PolicySpec

SPEC = PolicySpec(distribution="gaussian", observation_size=3, action_size=2, hidden_sizes=(16, 8))
KINDS = ["gaussian", "tanh_gaussian", "categorical"]


def make(**changes):
    torch.manual_seed(0)
    return Policy(replace(SPEC, **changes))


def observations(rows=20):
    return 3 * torch.randn(rows, 3, generator=torch.Generator().manual_seed(1)) + 5


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("state_dependent_std", [True, False])
def test_log_prob_of_a_sample_is_the_one_it_came_with(kind, state_dependent_std):
    policy = make(distribution=kind, state_dependent_std=state_dependent_std)
    action, log_prob, pre_squash = policy.sample(observations(), torch.Generator().manual_seed(2))
    assert (pre_squash is not None) == (kind == "tanh_gaussian")
    torch.testing.assert_close(policy.log_prob(observations(), action, pre_squash).detach(), log_prob, rtol=0, atol=0)
    # Without u it is recovered from the float32 action: exact to some digits where |a| is not near 1.
    moderate = torch.ones(20, dtype=torch.bool) if pre_squash is None else (pre_squash.abs() < 2).all(-1)
    assert moderate.sum() > 10
    again = policy.log_prob(observations(), action).detach()
    torch.testing.assert_close(again[moderate], log_prob[moderate], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_gaussian_policy_is_the_network_written_out(activation):
    policy, act = make(activation=activation), getattr(torch, activation)
    hidden = act(policy.fc1(act(policy.fc0(observations()))))
    expected = Normal(policy.last_fc(hidden), policy.last_fc_log_std(hidden).exp())
    action = torch.randn(20, 2, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(policy.log_prob(observations(), action), expected.log_prob(action).sum(-1))


def test_categorical_policy_is_a_softmax():
    policy = make(distribution="categorical", action_size=4)
    action = torch.arange(20) % 4
    expected = Categorical(logits=policy.logits(observations())).log_prob(action)
    torch.testing.assert_close(policy.log_prob(observations(), action), expected)


def test_samples_have_the_moments_of_the_distribution():
    policy = make()
    one = observations(1)
    mean, log_std = policy.mean_and_log_std(one)
    n = 40_000
    action, _, _ = policy.sample(one.expand(n, 3), torch.Generator().manual_seed(4))
    standardised = (action - mean) / log_std.exp()
    # 4 standard errors: 1 / sqrt(n) of the mean, 1 / sqrt(2 n) of the standard deviation.
    assert standardised.mean(0).abs().max() < 4 / math.sqrt(n)
    assert (standardised.std(0) - 1).abs().max() < 4 / math.sqrt(2 * n)


def test_mode_is_the_mean_its_tanh_or_the_likeliest_choice():
    mean, _ = make().mean_and_log_std(observations())
    torch.testing.assert_close(make().mode(observations()), mean.detach())
    torch.testing.assert_close(make(distribution="tanh_gaussian").mode(observations()), torch.tanh(mean).detach())
    policy = make(distribution="categorical")
    assert torch.equal(policy.mode(observations()), policy.logits(observations()).argmax(-1))


def test_observations_are_standardised_inside_and_clipped_after():
    plain, inside, clipped = make(), make(), make(observation_clip=0.5)
    mean, scale = torch.tensor([5.0, 4.0, -1.0]), torch.tensor([3.0, 0.5, 2.0])
    for policy in (inside, clipped):
        policy.observation_mean.copy_(mean)
        policy.observation_scale.copy_(scale)
    standardised = (observations() - mean) / scale
    action = torch.zeros(20, 2)
    torch.testing.assert_close(inside.log_prob(observations(), action), plain.log_prob(standardised, action))
    assert (standardised.abs() > 0.5).any()
    torch.testing.assert_close(
        clipped.log_prob(observations(), action), plain.log_prob(standardised.clamp(-0.5, 0.5), action)
    )


def test_log_std_stays_within_its_bounds():
    policy = make(log_std_bounds=(-1.0, -0.9))
    _, log_std = policy.mean_and_log_std(observations())
    assert log_std.min() >= -1.0 and log_std.max() <= -0.9


def test_spec_survives_json():
    import json

    for spec in (SPEC, replace(SPEC, observation_clip=5.0, state_dependent_std=False)):
        assert PolicySpec.from_dict(json.loads(json.dumps(spec.to_dict(), allow_nan=False))) == spec


def test_several_choices_are_independent_softmaxes():
    policy = make(distribution="multi_categorical", action_size=6, choices=(2, 4))
    logits = policy.logits(observations())
    each = [Categorical(logits=logits[:, :2]), Categorical(logits=logits[:, 2:])]
    action, log_prob, pre_squash = policy.sample(observations(), torch.Generator().manual_seed(2))
    assert action.shape == (20, 2)
    assert pre_squash is None
    parts = torch.stack([each[d].log_prob(action[:, d]) for d in (0, 1)], -1)
    torch.testing.assert_close(policy.log_prob_parts(observations(), action), parts)
    torch.testing.assert_close(policy.log_prob(observations(), action), parts.sum(-1))
    torch.testing.assert_close(log_prob, parts.sum(-1).detach())
    mode = torch.stack([each[d].probs.argmax(-1) for d in (0, 1)], -1)
    assert torch.equal(policy.mode(observations()), mode)
    other = make(distribution="multi_categorical", action_size=6, choices=(2, 4))
    with torch.no_grad():
        other.last_fc.bias.add_(torch.arange(6.0))
    found = policy.divergence(policy.parameters_at(observations()), other.parameters_at(observations()))
    moved = other.logits(observations())
    expected = kl_divergence(each[0], Categorical(logits=moved[:, :2]))
    expected = expected + kl_divergence(each[1], Categorical(logits=moved[:, 2:]))
    torch.testing.assert_close(found, expected)


def test_several_choices_are_drawn_as_often_as_they_should_be():
    policy = make(distribution="multi_categorical", action_size=5, choices=(2, 3))
    n, one = 40_000, observations(1)
    action, log_prob, _ = policy.sample(one.expand(n, 3), torch.Generator().manual_seed(4))
    joint = torch.bincount(action[:, 0] * 3 + action[:, 1], minlength=6) / n
    every = torch.cartesian_prod(torch.arange(2), torch.arange(3))
    expected = policy.log_prob(one.expand(6, 3), every).exp().detach()
    torch.testing.assert_close(joint, expected, atol=4 * 0.5 / n**0.5, rtol=0)  # 4 standard errors at most
    assert log_prob.max() <= 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"distribution": "multi_categorical", "choices": (2, 4)}, r"its 2 logits are of \[2, 4\] choices"),
        ({"distribution": "multi_categorical"}, r"its 2 logits are of \[\] choices"),
        ({"distribution": "multi_categorical", "choices": (2, 0)}, r"its 2 logits are of \[2, 0\] choices"),
        ({"choices": (1, 1)}, "its distribution is 'gaussian', which has no choices in several dimensions"),
    ],
)
def test_a_spec_whose_choices_do_not_add_up_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)


def test_a_spec_of_several_choices_goes_through_json_and_others_are_written_as_ever():
    spec = PolicySpec("multi_categorical", 3, 6, choices=(2, 4))
    assert PolicySpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    assert "choices" not in SPEC.to_dict()
    assert PolicySpec.from_dict(SPEC.to_dict()) == SPEC
