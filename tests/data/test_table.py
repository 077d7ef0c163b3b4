"""Tables of one row a step: gipo's own, anybody's by usual names, anybody's by a mapping."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

from gipo_cli.data import catalog
from gipo_cli.data.options import ReadOptions
from gipo_cli.data.trajectories import ActionSpace
from gipo_cli.errors import DataError, SettingError
from tests.data.tables import WRITERS, N, arrow_table, csv_table, full_log, plain_columns


def discrete(log):
    return replace(
        log, actions=np.arange(N) % 3, action_space=ActionSpace((), n=5), convention="categorical",
        pre_squash_actions=None, executed_actions=None, policy_versions=None, behaviour_weights=None,
        environment=None, log_probs_origin="recorded",
    )  # fmt: skip


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize(
    "log",
    [
        full_log(),
        full_log((4, 2, 3)),
        full_log((1,)),
        full_log(()),
        discrete(full_log()),
        replace(full_log(), behaviour_log_probs=np.full(N, np.nan), log_probs_origin="none"),
        replace(full_log(), behaviour_log_probs=np.ones((N, 2))),
        replace(full_log(), observations=np.arange(N * 3, dtype=np.uint8).reshape(N, 3)),
    ],
    ids=["full", "images", "one number", "plain number", "discrete", "none", "per dimension", "bytes"],
)
def test_what_gipo_writes_is_read_without_loss(tmp_path, kind, log):
    path = WRITERS[kind](log, tmp_path / f"log.{kind}")
    found = catalog.load(str(path))
    assert found.fingerprint == log.fingerprint
    assert found.repairs == ("shift",)
    assert found.observations.dtype == log.observations.dtype


@pytest.mark.parametrize("kind", WRITERS)
def test_columns_larger_than_memory_are_mapped_and_the_same(tmp_path, monkeypatch, kind):
    log = full_log()
    path = WRITERS[kind](log, tmp_path / f"log.{kind}")
    monkeypatch.setenv("GIPO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GIPO_COLUMN_MEMORY", "100")
    found = catalog.load(str(path))
    assert isinstance(found.observations, np.memmap)
    assert found.fingerprint == log.fingerprint


@pytest.mark.parametrize("kind", ["npz", "parquet", "arrow", "arrow compressed", "csv", "tsv", "csv large"])
def test_usual_names_are_enough(tmp_path, monkeypatch, kind):
    columns = plain_columns()
    path = tmp_path / f"log.{kind.split()[0]}"
    if kind == "npz":
        np.savez(path, **columns)
    elif kind == "parquet":
        pq.write_table(arrow_table(columns), path)
    elif kind.startswith("arrow"):
        feather.write_feather(arrow_table(columns), path, "zstd" if "compressed" in kind else "uncompressed")
    else:
        options = pacsv.WriteOptions(delimiter="\t" if kind == "tsv" else ",")
        pacsv.write_csv(csv_table(columns), path, options)
    if kind == "csv large":
        monkeypatch.setenv("GIPO_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("GIPO_COLUMN_MEMORY", "100")
    log = catalog.load(str(path))
    np.testing.assert_array_equal(log.behaviour_log_probs, columns["log_probs"][: N - 1])
    assert log.episode_starts.tolist() == [0, 4, N - 1]  # no next observations: a cut episode gives up its last step
    np.testing.assert_array_equal(log.observations, columns["observations"][: N - 1])
    assert (log.convention, log.action_space.n) == ("categorical", 3)


def test_a_directory_of_parquet_files_is_one_log_in_the_order_of_their_names(tmp_path):
    table = arrow_table(plain_columns())
    for i, start in enumerate((0, 5)):
        pq.write_table(table.slice(start, 5), tmp_path / f"part-{i}.parquet")
    pq.write_table(table, whole := tmp_path.parent / f"{tmp_path.name}.parquet")
    assert catalog.load(str(tmp_path)).fingerprint == catalog.load(str(whole)).fingerprint
    pq.write_table(table.drop_columns("rewards"), tmp_path / "part-2.parquet")
    with pytest.raises(DataError, match=r"part-2.parquet has other columns, or of other types, than part-0.parquet"):
        catalog.load(str(tmp_path))


def test_columns_that_are_not_needed_are_not_read(tmp_path):
    path = tmp_path / "log.parquet"
    table = arrow_table(plain_columns()).append_column("video", pa.array(["frame" * 100] * N))
    pq.write_table(table, path, compression="zstd")
    with pq.ParquetFile(path) as file:
        chunk = file.metadata.row_group(0).column(table.schema.names.index("video"))
    raw = bytearray(path.read_bytes())
    start = chunk.dictionary_page_offset or chunk.data_page_offset
    raw[start : start + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
    path.write_bytes(raw)
    with pytest.raises(OSError, match="deserialize"):
        pq.read_table(path, columns=["video"])
    assert catalog.load(str(path)).transitions == N - 1


@pytest.mark.parametrize("with_cuts", [True, False])
def test_done_is_a_true_end_where_it_was_not_cut(tmp_path, with_cuts):
    columns = plain_columns()
    columns["done"] = columns.pop("terminated") | columns["truncated"]
    columns["next_observations"] = np.append(columns["observations"][1:], [[9.0, 9.0]], 0)
    if not with_cuts:
        del columns["truncated"]
    np.savez(tmp_path / "log.npz", **columns)
    log = catalog.load(str(tmp_path / "log.npz"))
    assert log.terminated.nonzero()[0].tolist() == ([3] if with_cuts else [3, 7])
    assert ("'done' does not tell" in " ".join(log.notes)) is not with_cuts


def test_a_mapping_does_not_make_a_table_of_another_format(mapped, tmp_path, d4rl):
    mapped(BANDIT, bandit())
    path = d4rl("log.h5")
    with pytest.raises(DataError, match=r"log\.h5 is no table by its first bytes; expected NPZ, Parquet, Arrow or CSV"):
        catalog.load(str(path), ReadOptions(mapping=str(tmp_path / "mapping.toml")))


def test_a_mapping_has_the_word_over_a_format_that_the_file_looks_like(mapped):
    columns = bandit() | {"item_id": [0] * 6, "position": [1] * 6, "click": [0] * 6, "propensity_score": [1.0] * 6}
    assert mapped(BANDIT, columns).environment == "Shop-v0"


def test_links_out_of_a_directory_are_refused_and_those_of_a_hubs_cache_are_not(tmp_path):
    table = arrow_table(plain_columns())
    place = tmp_path / "hub" / "snapshots" / "0123abcd"
    (tmp_path / "hub" / "blobs").mkdir(parents=True)
    place.mkdir(parents=True)
    pq.write_table(table, tmp_path / "hub" / "blobs" / "feed")
    pq.write_table(table, tmp_path / "hub" / "secret")
    (place / "a.parquet").symlink_to("../../blobs/feed")
    assert catalog.load(str(place)).transitions == N - 1
    (place / "b.parquet").symlink_to("../../secret")
    with pytest.raises(DataError, match=r"b\.parquet is a link that leaves .*; nothing outside a dataset is read"):
        catalog.load(str(place))


def test_episodes_that_take_turns_are_put_together(tmp_path):
    columns = plain_columns() | {"episode": np.array(["b", "a"] * 4)}
    columns["terminated"] = np.arange(N) >= N - 2
    del columns["truncated"]
    pq.write_table(arrow_table(columns), tmp_path / "log.parquet")
    log = catalog.load(str(tmp_path / "log.parquet"))
    assert log.rewards.tolist() == [*columns["rewards"][::2], *columns["rewards"][1::2]]
    assert log.episode_starts.tolist() == [0, 4, 8]
    assert "rows of several episodes took turns; each episode was put together." in log.notes


def bandit():
    return {
        "age": np.arange(6.0), "visits": np.arange(6), "shown": ["tea", "coffee", "tea", "milk", "milk", "tea"],
        "paid": [0.0, 1.0, 0.5, 0.0, 0.0, 2.0], "chance": [0.5, 0.25, 0.5, 0.25, 0.25, 0.5],
    }  # fmt: skip


BANDIT = """
[columns]
observations = ["age", "visits"]
actions = "shown"
rewards = "paid"
probabilities = "chance"

[log]
one_step = true
environment = "Shop-v0"
"""


@pytest.mark.parametrize("name", ["log.csv", "log.parquet", "log.npz", "log.txt.csv"])
def test_a_bandit_with_words_for_actions_and_probabilities(mapped, name):
    log = mapped(BANDIT, bandit(), name=name)
    assert log.actions.tolist() == [2, 0, 2, 1, 1, 2]  # coffee, milk, tea
    assert (log.action_space.n, log.episodes, log.environment) == (3, 6, "Shop-v0")
    assert log.terminated.all()
    np.testing.assert_allclose(log.behaviour_log_probs, np.log(bandit()["chance"]))
    assert log.observations.tolist() == [[i, i] for i in range(6)]
    assert log.notes == (
        "'shown' holds words; numbered in sorted order: 0 = coffee, 1 = milk, 2 = tea.",
        "log-probs are the natural logs of 'chance'.",
    )


def test_patterns_vectors_bounds_and_steps_in_any_order(mapped):
    rng = np.random.default_rng(2)
    order = rng.permutation(6)
    columns = {
        "obs_x": np.arange(6.0), "obs_y": -np.arange(6.0), "a0": rng.standard_normal(6), "a1": rng.standard_normal(6),
        "r": np.arange(6.0), "lp": rng.standard_normal(6), "who": ["p"] * 3 + ["q"] * 3, "when": [0, 1, 2] * 2,
        "end": [0, 0, 1, 0, 0, 1], "next_x": np.arange(6.0) + 1, "next_y": -np.arange(6.0) - 1,
    }  # fmt: skip
    mapping = """
        columns = { observations = "obs_*", actions = ["a0", "a1"], rewards = "r", log_probs = "lp", episode = "who", \
step = "when", terminated = "end", next_observations = ["next_x", "next_y"] }
        [log]
        convention = "gaussian"
        action_low = [-1, -2.5]
        action_high = [1, 2.5]
    """
    straight = mapped(mapping, columns)
    shuffled = mapped(mapping, {name: np.array(column)[order] for name, column in columns.items()})
    assert straight.rewards.tolist() == list(range(6))
    assert straight.final_observations.tolist() == [[3, -3], [6, -6]]
    assert straight.action_space.low is not None
    assert straight.action_space.low.tolist() == [-1, -2.5]
    assert sorted(shuffled.episode_returns) == [3, 12]
    assert [shuffled.rewards[:3].tolist(), shuffled.rewards[3:].tolist()].__contains__([0, 1, 2])


def test_a_mapping_that_chooses_other_columns_is_not_given_those_of_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("GIPO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GIPO_COLUMN_MEMORY", "0")
    names = [f"a reading of sensor number {i}" for i in range(8)]
    columns = {name: np.arange(6) + 10.0 * i for i, name in enumerate(names)}
    columns |= {name: -np.ones(6) for name in ("action", "reward", "log_prob")}
    pacsv.write_csv(pa.table(columns), tmp_path / "log.csv")
    for last in (6, 7):
        observed = json.dumps([*names[:6], names[last]])
        (tmp_path / "mapping.toml").write_text(
            f"""columns = {{ observations = {observed}, actions = "action", rewards = "reward" }}"""
        )
        log = catalog.load(str(tmp_path / "log.csv"), ReadOptions(mapping=str(tmp_path / "mapping.toml")))
        assert log.observations[0].tolist() == [0, 10, 20, 30, 40, 50, 10 * last]


def test_a_column_of_whole_numbers_that_ends_in_halves_stays_one_of_numbers(mapped):
    columns = bandit() | {"shown": [0, 1, 0, 1, 0, 0.5]}
    log = mapped(BANDIT, columns)
    assert (log.convention, log.actions[:, 0].tolist()) == ("gaussian", columns["shown"])


@pytest.mark.parametrize(
    ("wrong", "expected", "hint"),
    [
        (("rewards = ", "reward = "), "mapping.toml, line 5: [columns] has no key 'reward'.", "Did you mean 'rewards'"),
        (("one_step", "one_stop"), "mapping.toml, line 9: [log] has no key 'one_stop'.", "Did you mean 'one_step'?"),
        (("[columns]", "[column]"), "mapping.toml, line 2: there is no section or key 'column'.", "mean 'columns'?"),
        ((BANDIT, "[log]"), "mapping.toml: the section [columns] is missing.", "For example:"),
        (('actions = "shown"\n', ""), "mapping.toml, line 2: [columns] lacks 'actions'.", "For example:"),
        (('"paid"', "3"), "mapping.toml, line 5: [columns] rewards: Input should be a valid string.", ""),
        (('"paid"', '""'), "mapping.toml, line 5: [columns] rewards: String should have at least 1 character.", ""),
        (("true", '"yes"'), "mapping.toml, line 9: [log] one_step: Input should be a valid boolean.", ""),
        (
            ('rewards = "paid"', 'rewards = "paid"\nlog_probs = "chance"'),
            "mapping.toml, line 2: [columns]: give log_probs or probabilities, not both.", "",
        ),
        (
            ('rewards = "paid"', 'rewards = "paid"\nterminated = "x"'),
            "mapping.toml: the mapping: one_step makes every row an episode that terminates; leave out terminated.", "",
        ),
        (("[log]", "[log"), "mapping.toml is not TOML that can be read (", ""),
    ],
)  # fmt: skip
def test_a_wrong_mapping_is_named_with_its_line_and_the_nearest_right_word(mapped, wrong, expected, hint):
    with pytest.raises(SettingError) as caught:
        mapped(BANDIT.replace(*wrong), bandit())
    assert expected in caught.value.message
    assert hint in caught.value.hint


def test_a_mapping_that_is_not_there(mapped, tmp_path):
    pq.write_table(pa.table(bandit()), tmp_path / "log.parquet")
    with pytest.raises(SettingError, match=r"the mapping .*none.toml cannot be read \(No such file or directory\)"):
        catalog.load(str(tmp_path / "log.parquet"), ReadOptions(mapping=str(tmp_path / "none.toml")))


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"age": ["x"] * 6}, r"'age' holds (string|<U1|text)"),
        ({"paid": [0, 1, None, 0, 0, 0]}, "'paid' has a gap in row 2; expected a number"),
        ({"chance": [0.5, 1.5, 0.5, 0.5, 0.5, 0.5]}, "'chance' of row 1 is 1.5; expected a probability .* up to 1"),
        ({"chance": [0.5, 0.5, 0.0, 0.5, 0.5, 0.5]}, "'chance' of row 2 is 0; expected a probability"),
        ({"chance": [0.5, float("nan"), 0.5, 0.5, 0.5, 0.5]}, "'chance' of row 1 is nan; expected a probability"),
        ({"shown": ["tea", None, "tea", "milk", "milk", "tea"]}, "'shown' has a gap in row 1; expected a word"),
        ({"age": [{"a": 1}] * 6}, "'age' holds struct"),
        ({"age": [[1.0], [1.0, 2.0]] * 3}, "'age' has 2 values in row 1"),
        ({"age": [[1.0], [None]] * 3}, "'age' has a gap in row 1"),
    ],
)  # fmt: skip
def test_a_column_that_holds_what_it_should_not_is_named(mapped, changed, expected):
    with pytest.raises(DataError, match=expected):
        mapped(BANDIT, bandit() | changed, name="log.parquet")


def test_a_column_that_is_not_there_is_named_with_the_nearest(mapped):
    with pytest.raises(DataError) as caught:
        mapped(BANDIT.replace('"paid"', '"payed"'), bandit())
    assert caught.value.message.endswith("log.csv has no column 'payed', which the mapping names.")
    assert caught.value.hint == "Did you mean 'paid'?"


def test_a_table_that_lacks_a_column_says_which_and_how_to_go_on(tmp_path):
    columns = plain_columns()
    columns["rewarded"] = columns.pop("rewards")
    pq.write_table(arrow_table(columns), tmp_path / "log.parquet")
    with pytest.raises(DataError, match="has no column 'rewards'") as caught:
        catalog.load(str(tmp_path / "log.parquet"))
    assert caught.value.hint == "Is it 'rewarded'? --mapping FILE.toml says which column is which."


def test_a_csv_row_of_too_few_columns_is_named(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("obs_0,actions,rewards,logp\n1,0,1,-1\n1,0\n")
    with pytest.raises(DataError, match=r"log.csv cannot be read: CSV parse error: .*Expected 4 columns, got 2"):
        catalog.load(str(path))


def test_a_csv_that_turns_to_words_is_named(tmp_path):
    path = tmp_path / "log.csv"
    rows = ["1,0,1,-1\n"] * 200_000 + ["1,0,one,-1\n"]
    path.write_text("obs_0,actions,rewards,logp\n" + "".join(rows))
    with pytest.raises(DataError, match="conversion error to double: invalid value 'one'"):
        catalog.load(str(path))


def test_two_columns_of_one_name_are_refused(tmp_path):
    (tmp_path / "log.csv").write_text("obs_0,actions,rewards,logp,logp\n1,0,1,-1,-2\n")
    with pytest.raises(DataError, match="has two columns 'logp'"):
        catalog.load(str(tmp_path / "log.csv"))
