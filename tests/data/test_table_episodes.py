"""Where the episodes of a table begin and end, whatever it marks them by."""

import numpy as np
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

from gipo_cli.data import catalog
from gipo_cli.data.options import ReadOptions
from gipo_cli.data.readers.table import TABLE
from gipo_cli.errors import DataError
from tests.data.tables import N, arrow_table, csv_table, npy, npz_of, plain_columns


@pytest.mark.parametrize("name", ["terminated", "truncated", "done"])
def test_flags_may_be_a_number_a_row_or_a_list_of_one(tmp_path, name):
    columns = plain_columns() | {"done": np.arange(N) % 4 == 3}
    expected = catalog.load(str(npz_of(tmp_path / "log.npz", **columns)))
    found = catalog.load(str(npz_of(tmp_path / "log.npz", **columns | {name: columns[name][:, None]})))
    assert found.fingerprint == expected.fingerprint


def test_done_without_being_terminated_is_cut(tmp_path):
    columns = plain_columns() | {"done": np.isin(np.arange(N), [1, 3, 7])}
    del columns["truncated"]
    columns["next_observations"] = np.append(columns["observations"][1:], [[9.0, 9.0]], 0)
    pq.write_table(arrow_table(columns), tmp_path / "log.parquet")
    log = catalog.load(str(tmp_path / "log.parquet"))
    assert log.terminated.nonzero()[0].tolist() == [3]
    assert log.truncated.nonzero()[0].tolist() == [1, 7]


def long_columns(**changed):
    rng = np.random.default_rng(2)
    n = 60
    observations = rng.standard_normal((n + 1, 2))
    return {
        "observations": observations[:-1], "next_observations": observations[1:], "actions": np.arange(n) % 3,
        "rewards": rng.standard_normal(n), "log_probs": -rng.uniform(0.1, 2, n), "truncated": np.arange(n) % 30 == 29,
    } | changed  # fmt: skip


def test_next_observations_in_another_precision_follow_all_the_same(tmp_path):
    columns = long_columns()
    columns["observations"] = columns["observations"].astype(np.float32)
    np.savez(tmp_path / "log.npz", **columns)
    assert catalog.load(str(tmp_path / "log.npz")).episode_starts.tolist() == [0, 30, 60]


def test_next_observations_that_never_follow_are_refused(tmp_path):
    columns = long_columns()
    np.savez(tmp_path / "log.npz", **columns | {"next_observations": columns["next_observations"] * 2})
    expected = r"'next_observations' is not the observation of the row after in 58 of 58 rows within episodes"
    with pytest.raises(DataError, match=expected):
        catalog.load(str(tmp_path / "log.npz"))


def files_of_runs(place, drop=("terminated", "truncated"), **changed):
    for i in range(2):
        columns = {k: v for k, v in plain_columns().items() if k not in drop} | {k: f(i) for k, f in changed.items()}
        pacsv.write_csv(csv_table(columns), place / f"run-{i}.csv")
    return str(place)


@pytest.mark.parametrize("episode", [lambda i: np.arange(N) // 4, lambda i: np.zeros(N, int)])
def test_runs_that_number_their_episodes_each_from_0_are_not_glued_together(tmp_path, episode):
    with pytest.raises(DataError, match="its files number their episodes each from the beginning") as refused:
        catalog.load(files_of_runs(tmp_path, episode=episode))
    assert "gipo datasets merge" in refused.value.hint


def test_an_episode_may_go_on_in_the_next_file(tmp_path):
    log = catalog.load(
        files_of_runs(tmp_path, episode=lambda i: np.repeat([2 * i, 1, 2 * i], [3 * (1 - i), 5 - i, 4 * i]))
    )
    assert log.episode_lengths.tolist() == [2, 8, 3]  # each a step less, which leads to what nobody saw


def test_without_episodes_none_goes_on_from_one_file_into_the_next(tmp_path):
    log = catalog.load(files_of_runs(tmp_path))
    assert log.episode_lengths.tolist() == [N - 1, N - 1]
    assert any("no episode goes on from one file into the next" in note for note in log.notes)
    assert "nothing marks true ends; every episode counts as cut by a limit." in log.notes


def test_a_step_that_was_left_out_cuts_the_episode(mapped):
    columns = {"o": [0.0, 1, 2, 3, 4, 5], "a": [0, 1] * 3, "r": [1.0] * 6, "p": [0.5] * 6, "e": [7] * 6,
               "t": [0, 1, 2, 5, 6, 7]}  # fmt: skip
    names = {"observations": "o", "actions": "a", "rewards": "r", "probabilities": "p", "episode": "e", "step": "t"}
    log = mapped("[columns]\n" + "\n".join(f'{role} = "{name}"' for role, name in names.items()), columns)
    assert log.episode_lengths.tolist() == [2, 2]
    assert "steps are left out in 1 places; an episode counts as cut there." in log.notes


def test_numbered_columns_with_a_gap_are_refused(tmp_path):
    table = csv_table(plain_columns() | {"observations": np.zeros((N, 4))}).drop_columns("observations_2")
    pacsv.write_csv(table, tmp_path / "log.csv")
    assert TABLE.recognises(tmp_path / "log.csv")
    expected = "log.csv: there are columns observations_0 to observations_1 and observations_3, and no observations_2"
    with pytest.raises(DataError, match=expected):
        catalog.load(str(tmp_path / "log.csv"))
    mapping = tmp_path / "mapping.toml"
    names = {"actions": "actions", "rewards": "rewards", "log_probs": "log_probs", "truncated": "truncated"}
    mapping.write_text("\n".join(["[columns]", 'observations = ["observations_0", "observations_3"]',
                                  *(f'{role} = "{name}"' for role, name in names.items())]))  # fmt: skip
    assert catalog.load(str(tmp_path / "log.csv"), ReadOptions(mapping=str(mapping))).observations.shape[1] == 2


def test_episodes_of_a_csv_may_go_by_any_number(tmp_path):
    columns = plain_columns() | {"episode": 2**60 + np.arange(N) // 4}
    del columns["terminated"], columns["truncated"]
    pacsv.write_csv(csv_table(columns), tmp_path / "log.csv")
    assert catalog.load(str(tmp_path / "log.csv")).episodes == 2


def test_whole_numbers_are_no_choices_where_a_density_is_declared(mapped):
    columns = {
        "o": [0.0, 1, 2, 3],
        "dose": [-1, 0, 1, 0],
        "r": [1.0] * 4,
        "p": [0.5] * 4,
        "d": [False, False, False, True],
    }
    log = mapped(
        '[columns]\nobservations = ["o"]\nactions = "dose"\nrewards = "r"\nprobabilities = "p"\nterminated = "d"\n'
        '[log]\nconvention = "gaussian"\naction_low = [-2.0]\naction_high = [2.0]\n',
        columns,
    )
    assert (log.convention, log.actions.dtype.kind, log.action_space.low.tolist()) == ("gaussian", "f", [-2.0])


def test_a_table_of_no_rows_and_an_episode_of_no_number_are_named(tmp_path):
    pq.write_table(arrow_table(plain_columns()).slice(0, 0), tmp_path / "log.parquet")
    with pytest.raises(DataError, match=r"log.parquet holds no steps"):
        catalog.load(str(tmp_path / "log.parquet"))
    with pytest.raises(DataError, match=r"'episode' has no number in 1 rows"):
        catalog.load(str(npz_of(tmp_path / "log.npz", episode=np.where(np.arange(N) == 2, np.nan, 0.0))))
    with pytest.raises(DataError, match=r"'observations' has shape \[\]; expected one row a step"):
        catalog.load(str(npz_of(tmp_path / "log.npz", observations=npy(np.float64(1)))))
