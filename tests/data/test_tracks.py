"""Rows into a log: where episodes end, blocks, and columns that only some rows have."""

import numpy as np
import pytest

from gipo_cli.data import tracks
from gipo_cli.data.tracks import Row, Track, log_of
from gipo_cli.data.trajectories import ActionSpace
from gipo_cli.errors import DataError

BOX = ActionSpace((1,), np.float32([-1]), np.float32([1]))


def row(t, **changed):
    values = {
        "observation": np.float32([t]), "action": np.float32([t / 100]), "reward": t, "log_prob": -t / 10,
        "terminated": False, "truncated": False,
    }  # fmt: skip
    return Row(**values | changed)


def made(track, space=BOX, convention="gaussian"):
    return log_of([track], space, name="a", environment_id=None, convention=convention)


@pytest.mark.parametrize("packed", [2, 3, 4, 100])
def test_blocks_of_any_size_give_the_same_log(monkeypatch, packed):
    monkeypatch.setattr(tracks, "PACKED", packed)
    track = Track()
    for t in range(10):
        track.add(row(t, terminated=t == 3, truncated=t == 7), [t + 1])
        if t == 5:
            track.cut()
    track.cut()
    track.cut()  # nothing is under way
    log = made(track)
    assert log.episode_starts.tolist() == [0, 4, 6, 8, 10]
    assert log.final_observations.ravel().tolist() == [4, 6, 8, 10]
    assert np.flatnonzero(log.terminated).tolist() == [3]
    assert np.flatnonzero(log.truncated).tolist() == [5, 7, 9]
    assert log.rewards.tolist() == list(range(10))
    np.testing.assert_allclose(log.behaviour_log_probs, -np.arange(10) / 10, rtol=1e-6)


def test_executed_actions_are_kept_only_where_one_of_them_differs():
    same, other = Track(), Track()
    for t in range(3):
        same.add(row(t, executed=np.float32([t / 100]), terminated=t == 2), [t])
        other.add(row(t, executed=np.float32([0.01 * (t == 2)]), terminated=t == 2), [t])
    assert made(same).executed_actions is None
    np.testing.assert_allclose(made(other).executed_actions, [[0], [0], [0.01]])


def test_a_column_of_some_rows_only_is_refused(monkeypatch):
    for packed in (1, 100):
        monkeypatch.setattr(tracks, "PACKED", packed)
        track = Track()
        track.add(row(0, version=1), [0])
        with pytest.raises(DataError, match="policy_versions"):
            track.add(row(1, terminated=True), [0])
            made(track)


def test_nothing_recorded_is_said():
    with pytest.raises(DataError) as refused:
        made(Track())
    assert refused.value.message == "nothing was recorded: not one step was taken."
