"""Some episodes of a log, and several logs as one."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gipo_cli.data import resident
from gipo_cli.data.selection import concatenate, split_episodes, take_episodes
from gipo_cli.data.trajectories import ActionSpace, BehaviourWeights, Trajectories
from gipo_cli.errors import DataError


def log_of(lengths, name="log", seed=0, **replaced):
    rng = np.random.default_rng(seed)
    steps, starts = sum(lengths), np.concatenate([[0], np.cumsum(lengths)])
    ends = np.isin(np.arange(steps), starts[1:] - 1)
    log = Trajectories(
        name=name, source=f"{name}.hdf5", observations=rng.random((steps, 2)), actions=rng.random((steps, 1)),
        rewards=rng.random(steps), behaviour_log_probs=-rng.random(steps), terminated=ends, truncated=ends & False,
        final_observations=rng.random((len(lengths), 2)), episode_starts=starts, action_space=ActionSpace((1,)),
        convention="gaussian", environment="Lab-v0",
    )  # fmt: skip
    return replace(log, **replaced)


def test_taken_episodes_are_whole_and_in_the_order_asked_for():
    log = log_of((2, 1, 3))
    taken = take_episodes(log, [2, 0])
    assert taken.episode_starts.tolist() == [0, 3, 5]
    np.testing.assert_array_equal(taken.rewards, log.rewards[[3, 4, 5, 0, 1]])
    np.testing.assert_array_equal(taken.next_observations(), log.next_observations()[[3, 4, 5, 0, 1]])


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(st.integers(1, 6), min_size=2, max_size=8), st.floats(0.01, 0.99), st.integers(0, 99))
def test_what_is_split_and_merged_has_every_episode_once(lengths, fraction, seed):
    log = log_of(lengths)
    share, rest = split_episodes(log.episodes, fraction, seed)
    assert len(share) and len(rest)
    assert sorted([*share, *rest]) == list(range(log.episodes))
    merged = concatenate([take_episodes(log, share), take_episodes(log, rest)], "log")
    back = take_episodes(merged, np.argsort(np.concatenate([share, rest])))
    assert back.fingerprint == log.fingerprint


def test_a_split_is_a_function_of_its_seed():
    assert split_episodes(100, 0.9, 3)[1].tolist() == split_episodes(100, 0.9, 3)[1].tolist()
    assert split_episodes(100, 0.9, 3)[1].tolist() != split_episodes(100, 0.9, 4)[1].tolist()
    assert [len(part) for part in split_episodes(100, 0.9, 3)] == [90, 10]


def test_one_episode_cannot_be_split():
    with pytest.raises(DataError, match="a log of 1 episode cannot be split"):
        split_episodes(1, 0.5, 0)


@pytest.mark.parametrize("which", [[], [3], [-1]])
def test_episodes_that_are_not_there_are_refused(which):
    with pytest.raises(DataError, match=r"no episodes were chosen|has episodes 0 to 2"):
        take_episodes(log_of((1, 2, 3)), which)


def test_what_memory_does_not_take_lives_in_a_file_without_a_name(tmp_path, monkeypatch):
    monkeypatch.setenv("GIPO_CACHE", str(tmp_path))
    monkeypatch.setenv("GIPO_COLUMN_MEMORY", "16")
    monkeypatch.setattr(resident, "BLOCK", 2)
    log = log_of((5, 4, 3))
    taken = take_episodes(log, [0, 2])
    assert isinstance(taken.observations, np.memmap)
    np.testing.assert_array_equal(taken.observations, np.delete(log.observations, slice(5, 9), 0))
    assert list(tmp_path.iterdir()) == []


def test_numbered_logs_get_their_number_as_version():
    merged = concatenate([log_of((2,), "a"), log_of((1, 2), "b")], "ab", "number")
    assert merged.policy_versions.tolist() == [0, 0, 1, 1, 1]
    assert merged.episode_starts.tolist() == [0, 2, 3, 5]
    assert (merged.name, merged.source) == ("ab", "a.hdf5, b.hdf5")


def test_versions_are_kept_where_all_have_them_and_dropped_with_a_note_elsewhere():
    a, b = log_of((2,), policy_versions=np.array([4, 5])), log_of((2,), policy_versions=np.array([1, 1]))
    assert concatenate([a, b], "ab").policy_versions.tolist() == [4, 5, 1, 1]
    merged = concatenate([a, log_of((2,))], "ab")
    assert merged.policy_versions is None
    assert merged.notes == ("only some of the merged logs have policy_versions; dropped.",)


def test_numbers_take_the_place_of_versions_without_a_word():
    versioned = log_of((2,), policy_versions=np.array([4, 5]))
    for logs in ([versioned, versioned], [versioned, log_of((2,))]):
        merged = concatenate(logs, "ab", "number")
        assert (merged.policy_versions.tolist(), merged.notes) == ([0, 0, 1, 1], ())


def test_versions_that_logs_share_are_noted():
    a, b, c = (log_of((3,), policy_versions=np.array(versions)) for versions in ([0, 1, 2], [1, 2, 2], [3, 4, 5]))
    assert concatenate([a, c], "ac").notes == ()
    assert concatenate([a, c, b], "acb").notes == (
        "several of the merged logs have policy versions between 1 and 2; if other policies acted there, "
        "--versions number tells the logs apart.",
    )


def test_actions_that_were_executed_as_sampled_stand_for_themselves():
    a, b = log_of((2,)), log_of((2,), seed=1, executed_actions=np.zeros((2, 1)))
    merged = concatenate([a, b], "ab")
    np.testing.assert_array_equal(merged.executed_actions, np.concatenate([a.actions, np.zeros((2, 1))]))


def test_weights_are_kept_only_where_they_are_the_same():
    def weights(value, **settings):
        return BehaviourWeights({"fc0/bias": np.full(2, value)}, "relu", "gaussian", **settings)

    def merged(*all_weights):
        return concatenate([log_of((2,), behaviour_weights=given) for given in all_weights], "ab")

    same = merged(weights(1.0), weights(1.0))
    assert same.behaviour_weights.arrays["fc0/bias"].tolist() == [1.0, 1.0]
    assert same.notes == ()
    for other in (weights(2.0), weights(1.0, observation_clip=5.0), None):
        found = merged(weights(1.0), other)
        assert found.behaviour_weights is None
        assert found.notes == ("the merged logs carry the weights of different behaviour policies; dropped.",)


def test_the_worst_origin_stands_for_all():
    merged = concatenate([log_of((2,)), log_of((2,), log_probs_origin="estimated")], "ab")
    assert merged.log_probs_origin == "estimated"
    assert merged.notes == ("log-probs are recorded, estimated; the worst stands for all.",)


def bounded(low):
    return ActionSpace((1,), np.full(1, low), np.full(1, 2.0))


@pytest.mark.parametrize(
    ("replaced", "difference"),
    [
        ({"observations": np.zeros((2, 3))}, "a has observations of shape [2], b [3]"),
        ({"actions": np.zeros((2, 4))}, "a has actions of shape [1], b [4]"),
        ({"convention": "tanh_gaussian"}, "a has log-probs of convention gaussian, b tanh_gaussian"),
        ({"environment": "Other-v1"}, "a has the environment Lab-v0, b Other-v1"),
        ({"action_space": bounded(-3.0)}, "a has a low bound of actions [-2.0], b [-3.0]"),
        ({"behaviour_log_probs": np.zeros((2, 1))}, "a has log-probs of shape [], b [1]"),
    ],
)
def test_logs_of_different_kinds_are_refused(replaced, difference):
    first = log_of((2,), "a", action_space=bounded(-2.0))
    with pytest.raises(DataError) as refused:
        concatenate([first, log_of((2,), "b", **replaced)], "ab")
    assert refused.value.message == f"{difference}; logs of one kind can be merged."


def test_a_log_without_log_probs_does_not_join_one_with_them():
    with pytest.raises(DataError, match=r"a has log-probs and b has none; they cannot be merged as they are\."):
        concatenate([log_of((2,), "b", log_probs_origin="none"), log_of((2,), "a")], "ab")


def test_what_one_log_does_not_say_the_other_does():
    silent = log_of((2,), environment=None)
    merged = concatenate([silent, log_of((2,), action_space=bounded(-2.0))], "ab")
    assert (merged.environment, merged.action_space.low.tolist()) == ("Lab-v0", [-2.0])
