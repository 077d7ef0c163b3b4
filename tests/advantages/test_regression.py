"""Regression that stops in time, on rows whose answer is known."""

import torch

from gipo_cli.advantages.networks import Networks
from gipo_cli.advantages.regression import regress, rows_of
from gipo_cli.advantages.standardised import Standardised
from gipo_cli.training.order import generator
from tests.advantages.corridor import corridor_samples

QUIET = {"advance": lambda n=1: None}


def fitted(samples, target, updates=150, members=1, weight=None):
    features = Standardised(samples)[torch.arange(len(samples.reward))]
    networks = Networks(members, features.shape[-1], 1, generator(0, 1))
    rows = rows_of(samples, generator(0, 2))

    def errors(of, batch):
        return (of(features[batch])[..., 0] - target[batch]).square()

    regress(networks, errors, rows, updates, weight=weight, **QUIET)
    with torch.no_grad():
        return networks(features)[..., 0]


def test_held_out_episodes_neither_teach_nor_judge():
    samples = corridor_samples(200)
    rows = rows_of(samples, generator(0, 2))
    assert not samples.held_out[rows.learning].any()
    assert not samples.held_out[rows.judging].any()
    taught, judged = (set(samples.episode[part].tolist()) for part in (rows.learning, rows.judging))
    assert taught.isdisjoint(judged)
    assert len(judged) == 18  # a tenth of the 180
    assert len(rows.learning) + len(rows.judging) == len(samples.held_in_rows)


def test_one_held_in_episode_judges_itself():
    samples = corridor_samples(2)
    rows = rows_of(samples, generator(0, 2))
    assert rows.learning.equal(rows.judging)
    assert rows.learning.equal(samples.held_in_rows)


def test_noise_is_not_learned():
    samples = corridor_samples(30)
    noise = torch.randn(len(samples.reward), generator=torch.Generator().manual_seed(0))
    # 250 rows of noise and five states: what can be learned is a mean of 50, about 1 / sqrt(50) = 0.14.
    assert fitted(samples, noise).abs().max() < 0.3


def test_what_the_judging_episodes_deny_is_not_learned():
    samples = corridor_samples(60)
    target = torch.ones_like(samples.reward)
    target[rows_of(samples, generator(0, 2)).judging] = -1
    assert (fitted(samples, target) == 0).all()


def test_a_function_of_the_state_is_learned():
    samples = corridor_samples(200)
    state = samples.observation.argmax(-1) / 2 - 1.0
    torch.testing.assert_close(fitted(samples, state, updates=300)[0], state, atol=0.05, rtol=0)  # 0.01 as measured


def test_members_learn_from_their_own_rows():
    samples = corridor_samples(200)
    ones = torch.ones_like(samples.reward)

    def drawn(rows):
        return torch.tensor([[1.0], [0.0], [1.0]]).expand(3, len(rows))

    first, second, third = fitted(samples, ones, updates=60, members=3, weight=drawn)
    assert (second == 0).all()  # nothing to learn from
    assert (first > 0.5).all()
    assert not torch.equal(first, third)  # from weights of their own


def test_networks_side_by_side_are_those_networks_alone():
    both = Networks(2, 3, 4, generator(0, 1))
    torch.nn.init.normal_(both.last_weight, generator=torch.Generator().manual_seed(0))
    features = torch.randn(6, 3, generator=torch.Generator().manual_seed(1))
    alone = Networks(1, 3, 4, generator(0, 2))
    for member in (0, 1):
        alone.load_state_dict({name: value[member : member + 1] for name, value in both.state_dict().items()})
        torch.testing.assert_close(both(features)[member], alone(features)[0])
    assert not torch.allclose(both(features)[0], both(features)[1])


def test_the_observation_after_a_step_is_that_of_the_row_after_or_the_final_one():
    samples = corridor_samples(20, cut=6)
    features = Standardised(samples)
    places = torch.arange(len(features))
    held_in = samples.observation[samples.held_in_rows]
    following = samples.next_observation(torch.arange(len(samples.reward)))
    expected = (following - held_in.mean(0)) / (held_in.std(0) + 1e-6)
    torch.testing.assert_close(
        features.at(places)[features.place_after(places[: len(samples.reward)])], expected.clamp(-8, 8)
    )
    in_any_order = torch.randperm(len(places), generator=generator(0, 0))
    assert torch.equal(features.at(in_any_order), features.at(places)[in_any_order])
