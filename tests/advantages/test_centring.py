"""Advantages that are centred exactly: closed forms against sums and samples."""

import pytest
import torch

from gipo_cli.advantages.centring import DRAWS, LARGEST_SHIFT, Choices, GaussianNoise, Target

N = 400_000


def gaussian(noise):
    row, column = torch.triu_indices(noise.shape[-1], noise.shape[-1])
    return GaussianNoise(noise, row, column)


def test_a_gaussian_advantage_has_mean_zero_under_beta():
    noise = torch.randn(N, 3, generator=torch.Generator().manual_seed(0))
    head = torch.tensor([0.7, -0.2, 0.4, 0.5, 0.1, -0.3, 0.2, 0.6, -0.4]).expand(N, -1)
    advantage = gaussian(noise).advantage(head, torch.arange(N))
    assert abs(advantage.mean()) < 5 * advantage.std() / N**0.5  # 5 standard errors


def test_the_gain_is_the_mean_advantage_of_the_moved_policy():
    head = torch.tensor([0.7, -0.2, 0.4, 0.5, 0.1, -0.3, 0.2, 0.6, -0.4])
    temperature = torch.tensor(1.3)
    shift = head[:3] / temperature
    moved = torch.randn(N, 3, generator=torch.Generator().manual_seed(1)) + shift
    sampled = gaussian(moved).advantage(head.expand(N, -1), torch.arange(N))
    exact = gaussian(moved[:1]).gain(head[None], torch.tensor([0]), temperature, head[None])
    assert abs(sampled.mean() - exact.item()) < 5 * sampled.std() / N**0.5  # 5 standard errors


def test_the_gain_under_a_policy_is_the_mean_advantage_of_its_actions():
    head = torch.tensor([0.7, -0.2, 0.4, 0.5, 0.1, -0.3, 0.2, 0.6, -0.4])
    mean, variance = torch.tensor([[0.5, -1.0, 0.2]]), torch.tensor([[0.25, 1.0, 2.0]])
    moved = torch.randn(N, 3, generator=torch.Generator().manual_seed(1)) * variance.sqrt() + mean
    sampled = gaussian(moved).advantage(head.expand(N, -1), torch.arange(N))
    exact = gaussian(moved[:1]).gain_under(head[None], torch.tensor([0]), Target(mean, variance))
    assert abs(sampled.mean() - exact.item()) < 5 * sampled.std() / N**0.5  # 5 standard errors
    unmoved = Target(torch.zeros(1, 3), torch.ones(1, 3))
    torch.testing.assert_close(gaussian(moved[:1]).gain_under(head[None], torch.tensor([0]), unmoved), torch.zeros(1))


def test_the_improved_policy_goes_no_further_than_the_largest_shift():
    head = torch.tensor([[100.0, 0.0]])  # one action dimension: b = 100, C = 0
    gain = gaussian(torch.zeros(1, 1)).gain(head, torch.tensor([0]), torch.tensor(1.0), head)
    torch.testing.assert_close(gain, torch.tensor([100 * LARGEST_SHIFT]))


def test_choices_are_centred_by_a_finite_sum_and_their_gain_is_one():
    probability = torch.tensor([[0.2, 0.5, 0.3]]).expand(3, -1)
    head = torch.tensor([[1.0, -2.0, 0.5]]).expand(3, -1)
    rows, actions = torch.arange(3), torch.arange(3)
    choices = Choices(actions, probability, (3,))
    advantage = choices.advantage(head, rows)
    torch.testing.assert_close((probability[0] * advantage).sum(), torch.tensor(0.0))
    torch.testing.assert_close(choices.spread(head, rows)[0], (probability[0] * advantage**2).sum())
    temperature = torch.tensor(2.0)
    improved = probability[0] * (advantage / temperature).exp()
    improved /= improved.sum()
    torch.testing.assert_close(choices.gain(head, rows, temperature, head)[0], (improved * advantage).sum())
    target = Target(torch.tensor([[0.6, 0.1, 0.3]]).expand(3, -1), torch.empty(0))
    torch.testing.assert_close(choices.gain_under(head, rows, target)[0], (target.mean[0] * advantage).sum())


def test_choices_in_two_dimensions_are_centred_by_the_sum_over_all_pairs():
    pairs = torch.cartesian_prod(torch.arange(2), torch.arange(3))
    rows, p, q = torch.arange(6), torch.tensor([0.2, 0.8]), torch.tensor([0.5, 0.4, 0.1])
    probability = torch.cat([p, q]).expand(6, -1)
    joint = torch.outer(p, q).flatten()
    head = torch.tensor([1.0, -2.0, 0.5, 3.0, -1.0]).expand(6, -1)
    choices = Choices(pairs, probability, (2, 3))
    assert choices.head_size == 5
    advantage = choices.advantage(head, rows)
    plain = head[0, pairs[:, 0]] + head[0, 2 + pairs[:, 1]]
    torch.testing.assert_close(advantage, plain - (joint * plain).sum())
    torch.testing.assert_close(choices.spread(head, rows)[0], (joint * advantage**2).sum())
    temperature = torch.tensor(2.0)
    improved = joint * (advantage / temperature).exp()
    improved /= improved.sum()
    torch.testing.assert_close(choices.gain(head, rows, temperature, head)[0], (improved * advantage).sum())
    target = Target(torch.tensor([[0.6, 0.4, 0.2, 0.2, 0.6]]).expand(6, -1), torch.empty(0))
    of_target = torch.outer(target.mean[0, :2], target.mean[0, 2:]).flatten()
    torch.testing.assert_close(choices.gain_under(head, rows, target)[0], (of_target * advantage).sum())


@pytest.mark.parametrize("choices", [(6,), (2, 3)])
def test_the_mean_of_the_lesser_critic_is_that_over_all_actions(choices):
    generator = torch.Generator().manual_seed(0)
    probability = torch.cat([torch.rand(k, generator=generator).softmax(-1) for k in choices]).expand(4, -1)
    heads, offset = torch.randn(2, 4, sum(choices), generator=generator), torch.randn(2, 4, generator=generator)
    actions = torch.zeros(4, len(choices), dtype=torch.int64)
    centring = Choices(actions if len(choices) > 1 else actions[:, 0], probability, choices)
    found = centring.mean_of_least(offset, heads, torch.arange(4))
    every = torch.cartesian_prod(*(torch.arange(k) for k in choices)).reshape(-1, len(choices))
    exact = torch.zeros(4)
    for action in every:
        one = Choices(action.expand(4, -1), probability, choices)
        least = (offset + torch.stack([one.advantage(head, torch.arange(4)) for head in heads])).amin(0)
        chance = torch.stack([p[k] for p, k in zip(probability[0].split(choices), action, strict=True)]).prod()
        exact += chance * least
    # Exact where there is one dimension; else DRAWS draws, whose spread is that of the lesser over sqrt(DRAWS).
    torch.testing.assert_close(found, exact, atol=1e-6 if len(choices) == 1 else 4 * 2 / DRAWS**0.5, rtol=0)
