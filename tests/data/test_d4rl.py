"""D4RL's layout with the quirks of its releases."""

import h5py
import numpy as np
import pytest

from gipo_cli.data.options import ReadOptions
from gipo_cli.data.readers.d4rl import D4RL
from gipo_cli.errors import DataError
from gipo_cli.logs import open_log


def test_a_plain_file_is_read_column_by_column(d4rl):
    log = D4RL.read(d4rl(), "log", ReadOptions())
    assert (log.transitions, log.episodes, log.convention) == (12, 3, "tanh_gaussian")
    assert log.episode_starts.tolist() == [0, 4, 8, 12]
    assert log.terminated.nonzero()[0].tolist() == [3, 7]
    assert log.truncated.nonzero()[0].tolist() == [11]
    with h5py.File(d4rl("again.hdf5")) as file:
        np.testing.assert_array_equal(log.next_observations(), file["next_observations"][:])


def test_columns_of_one_and_flags_stored_as_numbers_read_the_same(d4rl):
    plain = D4RL.read(d4rl(), "log", ReadOptions())
    with h5py.File(d4rl("source.hdf5")) as file:
        column = {key: file[key][:] for key in ("rewards", "terminals", "timeouts", "infos/action_log_probs")}
    odd = d4rl(
        "odd.hdf5",
        rewards=column["rewards"][:, None],
        terminals=column["terminals"].astype(np.float32)[:, None] * 849,
        timeouts=column["timeouts"].astype(np.float64)[:, None],
        infos__action_log_probs=column["infos/action_log_probs"][:, None],
    )
    assert D4RL.read(odd, "log", ReadOptions()).fingerprint == plain.fingerprint


def test_the_fingerprint_knows_nothing_of_compression_and_byte_order(d4rl, tmp_path):
    path = d4rl()
    with h5py.File(path) as source, h5py.File(tmp_path / "packed.hdf5", "w") as packed:

        def copy(name, found):
            if isinstance(found, h5py.Dataset):
                kind = found.dtype if found.dtype == bool else found.dtype.newbyteorder(">")
                packed.create_dataset(name, data=found[:].astype(kind), chunks=True, compression="gzip")

        source.visititems(copy)
    assert (
        D4RL.read(tmp_path / "packed.hdf5", "log", ReadOptions()).fingerprint
        == D4RL.read(path, "log", ReadOptions()).fingerprint
    )


def test_ends_that_were_not_marked_are_found_where_the_next_observation_jumps(d4rl):
    log = D4RL.read(d4rl(terminals=np.zeros(12, bool), timeouts=np.zeros(12, bool)), "log", ReadOptions())
    assert log.episode_starts.tolist() == [0, 4, 8, 12]
    assert log.truncated.nonzero()[0].tolist() == [3, 7, 11]
    assert "2 episode ends were not marked; found where the next observation jumps." in log.notes


def test_an_unfinished_last_episode_counts_as_cut(d4rl):
    log = D4RL.read(d4rl(timeouts=np.zeros(12, bool)), "log", ReadOptions())
    assert log.truncated[-1]
    assert "the last episode is unfinished; it counts as cut by a limit." in log.notes


def test_without_next_observations_a_cut_episode_gives_up_its_last_step(d4rl):
    whole = D4RL.read(d4rl(), "log", ReadOptions())
    log = D4RL.read(d4rl("short.hdf5", drop=("next_observations",)), "log", ReadOptions())
    # Two terminated episodes keep their steps; the cut one ends a step earlier, and its last observation is final.
    assert log.episode_lengths.tolist() == [4, 4, 3]
    assert log.truncated.nonzero()[0].tolist() == [10]
    np.testing.assert_array_equal(log.final_observations[2], whole.observations[11])


def test_a_terminal_step_that_also_timed_out_is_an_end(d4rl):
    timeouts = np.zeros(12, bool)
    timeouts[[3, 11]] = True
    log = D4RL.read(d4rl(timeouts=timeouts), "log", ReadOptions())
    assert (log.terminated[3], log.truncated[3]) == (True, False)


def test_weights_without_standard_deviations_or_transposed_are_not_taken_for_the_policy(d4rl):
    def with_policy(name, **arrays):
        path = d4rl(name)
        with h5py.File(path, "r+") as file:
            group = file.create_group("metadata/policy")
            group["nonlinearity"], group["output_distribution"] = np.bytes_("relu"), np.bytes_("tanh_gaussian")
            for key, array in arrays.items():
                group[key.replace("__", "/")] = array.astype(np.float32)
        return D4RL.read(path, "log", ReadOptions())

    body = {"fc0__weight": np.ones((8, 2)), "fc0__bias": np.ones(8), "last_fc__weight": np.ones((1, 8)),
            "last_fc__bias": np.ones(1)}  # fmt: skip
    std = {"last_fc_log_std__weight": np.ones((1, 8)), "last_fc_log_std__bias": np.ones(1)}
    assert with_policy("whole.hdf5", **body, **std).behaviour_weights is not None
    assert with_policy("mean.hdf5", **body).behaviour_weights is None
    assert with_policy("turned.hdf5", **{**body, **std, "fc0__weight": np.ones((2, 8))}).behaviour_weights is None


def test_integer_actions_are_choices(d4rl):
    log = D4RL.read(d4rl(actions=np.array([[0], [2]] * 6), infos__action_log_probs=-np.ones(12)), "log", ReadOptions())
    assert (log.convention, log.action_space.n, log.actions.shape) == ("categorical", 3, (12,))


@pytest.mark.parametrize("actions", [np.arange(12) % 3 == 0, np.zeros((12, 1), bool)])
def test_flags_as_actions_are_two_choices(d4rl, actions):
    log = D4RL.read(d4rl(actions=actions, infos__action_log_probs=-np.ones(12)), "log", ReadOptions())
    assert (log.convention, log.action_space.n) == ("categorical", 2)
    assert log.actions.tolist() == actions.reshape(12).astype(int).tolist()


def test_a_log_without_log_probs_is_refused_with_what_can_be_done(gipo, d4rl):
    path = d4rl(drop=("infos/action_log_probs",), infos__qpos=np.zeros((12, 2)))
    outcome = gipo("train", "--dataset", path)
    assert outcome.exit_code == 3
    assert outcome.stderr == (
        f"gipo: {path} has no log-probabilities of the behaviour policy.\n"
        "      no log-probs: its infos hold qpos.\n"
        "      GIPO weighs every logged action by pi(a|s) / beta(a|s) and needs the natural log of beta(a|s), one a "
        "step\n"
        "      (looked for action_log_probs and 15 other names).\n"
        "      Under another name:             --log-prob-key NAME\n"
        "      The policy that acted is known: --behaviour POLICY.safetensors computes them, exactly\n"
        "      Nothing is known:               --estimate-behaviour clones it; what follows is marked 'estimated'\n"
    )


@pytest.mark.parametrize("key", ["observations", "actions", "rewards", "terminals"])
def test_a_missing_column_is_named_with_what_there_is(d4rl, key):
    with pytest.raises(DataError, match=f"has no column '{key}'") as refused:
        D4RL.read(d4rl(drop=(key,)), "log", ReadOptions())
    assert refused.value.hint.startswith("It holds: ")


def test_lengths_that_differ_are_named(d4rl):
    with pytest.raises(DataError, match="'rewards' has 11 rows, 'observations' 12; expected as many"):
        D4RL.read(d4rl(rewards=np.zeros(11)), "log", ReadOptions())


@pytest.mark.parametrize("column", ["observations", "rewards", "infos__action_log_probs"])
def test_a_number_that_is_not_finite_is_placed(d4rl, column):
    path = d4rl("good.hdf5")
    with h5py.File(path, "r+") as file:
        file[column.replace("__", "/")][5] = np.nan
    name = {"infos__action_log_probs": "behaviour_log_probs"}.get(column, column)
    with pytest.raises(DataError, match=rf"'{name}' holds a number that is not finite in row 5 \(episode 1\); 1 rows"):
        open_log(str(path))


def test_a_column_of_log_probs_that_is_not_there_is_named_with_the_nearest(d4rl):
    path = d4rl()
    for asked, hint in (("action_log_prob", "Did you mean 'infos/action_log_probs'?"), ("x", "It holds: actions, ")):
        with pytest.raises(DataError, match=f"has no column '{asked}'") as refused:
            D4RL.read(path, "log", ReadOptions(log_prob_key=asked))
        assert refused.value.hint.startswith(hint)
