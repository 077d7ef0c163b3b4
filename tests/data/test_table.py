"""Tables of one row a step: gipo's own, anybody's by usual names, anybody's by a mapping, and hostile ones."""

import errno
import io
import json
import struct
import zipfile
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
from safetensors.numpy import save

from gipo_cli.data import catalog
from gipo_cli.data.options import ReadOptions
from gipo_cli.data.readers.table import TABLE
from gipo_cli.data.trajectories import ActionSpace, BehaviourWeights, Trajectories
from gipo_cli.errors import DataError, SettingError

N = 8


def full_log(observation_shape=(3,)):
    """A log with everything a log can have."""
    rng = np.random.default_rng(0)
    starts = np.array([0, 3, 4, N])
    terminated, truncated = np.zeros(N, bool), np.zeros(N, bool)
    terminated[[2, 3]] = truncated[N - 1] = True
    arrays = {
        "fc0/weight": rng.standard_normal((4, 3)), "fc0/bias": rng.standard_normal(4),
        "last_fc/weight": rng.standard_normal((2, 4)), "last_fc/bias": rng.standard_normal(2), "log_std": np.zeros(2),
    }  # fmt: skip
    u = rng.standard_normal((N, 2)).astype(np.float32)
    return Trajectories(
        name="full", source="nowhere", observations=rng.standard_normal((N, *observation_shape)), actions=np.tanh(u),
        rewards=rng.standard_normal(N).astype(np.float32), behaviour_log_probs=rng.standard_normal(N),
        terminated=terminated, truncated=truncated, final_observations=rng.standard_normal((3, *observation_shape)),
        episode_starts=starts, action_space=ActionSpace((2,), -np.ones(2), np.ones(2)), convention="tanh_gaussian",
        environment="Hopper-v5", pre_squash_actions=u, executed_actions=np.clip(np.tanh(u), -0.5, 0.5),
        policy_versions=np.arange(N) // 3, log_probs_origin="recomputed",
        behaviour_weights=BehaviourWeights(
            {name: array.astype(np.float32) for name, array in arrays.items()}, "tanh", "tanh_gaussian", 5.0, 1e-6,
            (-5.0, 2.0),
        ),
    )  # fmt: skip


def described(log, **changed):
    weights = log.behaviour_weights
    text = {
        "format": 1, "convention": log.convention, "log_probs_origin": log.log_probs_origin, "name": log.name,
        "environment": log.environment, "action_choices": log.action_space.n,
        "action_shape": list(log.action_space.shape), "observation_shape": list(log.observations.shape[1:]),
        "repairs": ["shift"],
        "weights": weights and {
            "nonlinearity": weights.nonlinearity, "output_distribution": weights.output_distribution,
            "observation_clip": weights.observation_clip, "observation_epsilon": weights.observation_epsilon,
            "log_std_bounds": weights.log_std_bounds,
        },
    }  # fmt: skip
    return json.dumps(text | changed).encode()


ROWS = (
    "observations", "actions", "rewards", "behaviour_log_probs", "terminated", "truncated", "pre_squash_actions",
    "executed_actions", "policy_versions",
)  # fmt: skip


def apart(log):
    found = {"final_observations": log.final_observations}
    if log.action_space.low is not None:
        found |= {"action_low": log.action_space.low, "action_high": log.action_space.high}
    if log.behaviour_weights is not None:
        found |= {f"weights/{name}": array for name, array in log.behaviour_weights.arrays.items()}
    return found


def write_npz(log, path, compressed=True, **changed):
    columns = {name: getattr(log, name) for name in ROWS if getattr(log, name) is not None}
    columns |= {"episode_starts": log.episode_starts, **apart(log)}
    columns["gipo"] = np.frombuffer(described(log, **changed), np.uint8)
    (np.savez_compressed if compressed else np.savez)(path, **columns)
    return path


def write_parquet(log, path, **changed):
    columns = {}
    for name in ROWS:
        if (column := getattr(log, name)) is not None:
            flat = pa.array(np.ascontiguousarray(column).reshape(-1))
            columns[name] = flat if column.ndim == 1 else pa.FixedSizeListArray.from_arrays(flat, column[0].size)
    columns["episode"] = pa.array(log.episode_of_step.astype(np.int64))
    arrays = {name: np.ascontiguousarray(array) for name, array in apart(log).items()}
    metadata = {"gipo": described(log, **changed), "gipo_arrays": save(arrays)}
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), path, row_group_size=3)
    return path


WRITERS = {"npz": write_npz, "parquet": write_parquet}


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


def plain_columns():
    rng = np.random.default_rng(1)
    return {
        "observations": rng.standard_normal((N, 2)), "actions": np.arange(N) % 3, "rewards": rng.standard_normal(N),
        "log_probs": -rng.uniform(0.1, 2, N), "terminated": np.arange(N) == 3, "truncated": np.arange(N) == N - 1,
    }  # fmt: skip


def arrow_table(columns):
    return pa.table({name: list(column) if column.ndim > 1 else column for name, column in columns.items()})


def csv_table(columns):
    flat = {}
    for name, column in columns.items():
        flat |= {name: column} if column.ndim == 1 else {f"{name}_{i}": c for i, c in enumerate(column.T)}
    return pa.table(flat)


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


@pytest.fixture
def mapped(tmp_path):
    """Write a table and a mapping of it, and read both."""

    def read(mapping, columns=None, options=None, name="log.csv"):
        path, file = tmp_path / name, tmp_path / "mapping.toml"
        file.write_text(mapping)
        if name.endswith(".csv"):
            pacsv.write_csv(pa.table(columns), path)
        elif name.endswith(".npz"):
            np.savez(path, **columns)
        else:
            pq.write_table(pa.table(columns), path)
        return catalog.load(str(path), replace(options or ReadOptions(), mapping=str(file)))

    return read


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


def npy(array, shape=None, descr=None):
    """The bytes of an .npy, with a header that may lie."""
    header = {"descr": descr or array.dtype.str, "fortran_order": False, "shape": shape or array.shape}
    text = (repr(header).ljust(117) + "\n").encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + array.tobytes()


def npz_of(path, **changed):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, column in (plain_columns() | changed).items():
            file.writestr(f"{name}.npy", column if isinstance(column, bytes) else npy(np.ascontiguousarray(column)))
    return path


def objects():
    held = io.BytesIO()
    np.save(held, np.array([{"a": 1}] * N, object), allow_pickle=True)
    return held.getvalue()


@pytest.mark.parametrize(
    ("rewards", "expected"),
    [
        (objects(), "'rewards' holds pickled Python objects; unpickling runs code that the file brings"),
        (npy(np.zeros(N), (10**12, 11)), r"'rewards' has 64 bytes, and its shape .* needs 88,000,000,000,000"),
        (npy(np.zeros(N), (2**70,)), r"'rewards' has 64 bytes, and its shape"),
        (npy(np.zeros(N), (-1,)), r"'rewards' has shape \[-1\]; it cannot be"),
        (npy(np.zeros(N), (1,) * 40), r"cannot be"),
        (npy(np.zeros(N))[:-8], "'rewards' has 56 bytes, and its shape"),
        (npy(np.zeros(N), descr="|V8"), r"'rewards' holds \|V8; expected numbers"),
        (npy(np.zeros(N), descr="<c16"), r"'rewards' holds complex128; expected numbers"),
        (npy(np.zeros(N), descr="[('a', '<f8')]"), "cannot be read|expected numbers"),
        (b"\x93NUMPY\x01\x00\xff\xff{" + b"(" * 60_000, "cannot be read"),
        (b"\x93NUMPY\x09\x00", r"'rewards' is of .npy version \(9, 0\)"),
        (b"", "cannot be read"),
        (npy(np.array(["a"] * N)), "'rewards' holds text; expected numbers"),
        (npy(np.zeros((N, 3))), r"'rewards' has shape \[8, 3\]; expected one row a step"),
        (npy(np.zeros(N + 1)), "'rewards' has 9 rows, 'observations' 8; expected as many"),
        (npy(np.zeros(())), r"'rewards' has shape \[\]; expected one row a step"),
    ],
)
def test_hostile_members_are_refused(tmp_path, rewards, expected):
    with pytest.raises(DataError, match=expected):
        catalog.load(str(npz_of(tmp_path / "log.npz", rewards=rewards)))


@pytest.mark.parametrize("name", ["final_observations", "action_low", "weights/log_std"])
def test_text_beside_the_rows_is_refused(tmp_path, name):
    path = write_npz(full_log(), tmp_path / "log.npz")
    arrays = dict(np.load(path)) | {name: np.array([["a", "b", "c"]] * 3)}
    np.savez(path, **arrays)
    with pytest.raises(DataError, match=f"'{name}' holds text; expected numbers"):
        catalog.load(str(path))


def test_big_endian_and_column_order_members_are_read(tmp_path):
    columns = plain_columns()
    columns["observations"] = np.asfortranarray(columns["observations"].astype(">f4"))
    columns["rewards"] = columns["rewards"].astype(">f8")
    np.savez(tmp_path / "log.npz", **columns)
    log = catalog.load(str(tmp_path / "log.npz"))
    np.testing.assert_array_equal(log.observations, columns["observations"][: N - 1])
    np.testing.assert_array_equal(log.rewards, columns["rewards"][: N - 1])
    assert log.rewards.dtype == np.float64
    assert log.rewards.dtype.isnative


def test_a_size_that_no_compression_reaches_is_refused(tmp_path):
    path = npz_of(tmp_path / "log.npz")
    raw = bytearray(path.read_bytes())
    at = raw.rindex(b"PK\x01\x02", 0, raw.rindex(b"PK\x05\x06"))
    raw[at + 24 : at + 28] = struct.pack("<I", 2**31)
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"claims 2,147,483,648 bytes out of \d+; it cannot be"):
        catalog.load(str(path))


def test_a_bomb_needs_room_on_the_disk_not_memory(tmp_path, monkeypatch):
    monkeypatch.setenv("GIPO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GIPO_COLUMN_MEMORY", "1000000")
    monkeypatch.setattr("gipo_cli.data.cache.SPARE_DISK", 2**62)
    path = npz_of(tmp_path / "log.npz", rewards=np.zeros(4_000_000))
    assert path.stat().st_size < 100_000
    with pytest.raises(DataError, match="'rewards' has 32,000,000 bytes, more than memory takes"):
        catalog.load(str(path))


def test_a_column_that_cannot_be_mapped_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("GIPO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GIPO_COLUMN_MEMORY", "16")

    def fail(*_):
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    pq.write_table(arrow_table(plain_columns()), path := tmp_path / "log.parquet")
    monkeypatch.setattr(np.lib.format, "open_memmap", fail)
    with pytest.raises(DataError, match=r"cannot hold it \(Cannot allocate memory\)"):
        catalog.load(str(path))


PACKED = {
    "numbers": lambda: {"rewards": np.zeros(2**24)},
    "lists": lambda: {"rewards": [np.zeros(2**24)]},
    "words": lambda: {"rewards": pa.array(["a" * 2**27, "b"]).dictionary_encode()},
}


@pytest.mark.parametrize("columns", PACKED.values(), ids=PACKED)
def test_an_arrow_batch_that_unpacks_to_more_than_it_can_is_not_read(tmp_path, columns):
    path = tmp_path / "log.arrow"
    feather.write_feather(pa.table(columns()), path, compression="zstd", chunksize=2**24)
    assert path.stat().st_size < 5000
    with pytest.raises(DataError, match=r"a batch claims 134,217,7\d\d bytes in a file of 4,\d{3}; it is not read"):
        catalog.load(str(path))


def test_a_description_of_megabytes_is_not_read(tmp_path):
    path = npz_of(tmp_path / "log.npz", gipo=np.zeros(5 * 2**20, np.uint8))
    with pytest.raises(DataError, match="the description 'gipo' has 5,242,880 bytes; up to 4,194,304 are read"):
        catalog.load(str(path))


def test_weights_that_no_policy_has_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr("gipo_cli.data.description.LARGEST_WEIGHTS", 100)
    path = write_npz(full_log(), tmp_path / "log.npz")
    with pytest.raises(DataError, match="the weights of its policy claim 112 bytes; up to 100 are read"):
        catalog.load(str(path))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_stands_there_twice_is_refused(tmp_path):
    path = npz_of(tmp_path / "log.npz")
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("rewards.npy", npy(np.ones(N)))
    with pytest.raises(DataError, match="has two members 'rewards'"):
        catalog.load(str(path))


def test_a_flipped_bit_in_an_npz_is_found(tmp_path):
    path = write_npz(full_log(), tmp_path / "log.npz", compressed=False)
    raw = bytearray(path.read_bytes())
    at = raw.index(full_log().rewards.tobytes())
    raw[at] ^= 1
    path.write_bytes(raw)
    with pytest.raises(DataError, match=r"log.npz cannot be read: Bad CRC-32 for file 'rewards.npy'"):
        catalog.load(str(path))


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"format": 2}, "the description 'gipo' is not one that gipo writes .format: Input should be 1"),
        ({"convention": "beta"}, "is not one that gipo writes .convention"),
        ({"environment": 3}, "is not one that gipo writes .environment"),
        ({"action_choices": -1}, "is not one that gipo writes .action_choices"),
        ({"weights": {"nonlinearity": "gelu"}}, "is not one that gipo writes .weights.nonlinearity"),
    ],
)
def test_a_description_that_gipo_did_not_write_is_refused(tmp_path, kind, changed, expected):
    with pytest.raises(DataError, match=expected):
        catalog.load(str(WRITERS[kind](full_log(), tmp_path / f"log.{kind}", **changed)))


def test_rows_that_do_not_fill_the_shape_that_the_file_describes_are_refused(tmp_path):
    path = write_parquet(full_log(), tmp_path / "log.parquet", action_shape=[3, 3])
    with pytest.raises(DataError, match=r"'actions' has shape \[8, 2\]; expected \[3, 3\] a row"):
        catalog.load(str(path))


def test_actions_of_no_dimension_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"the actions have shape \[8, 0\]; expected one dimension or more"):
        catalog.load(str(npz_of(tmp_path / "log.npz", actions=np.zeros((N, 0), np.float32))))


@pytest.mark.parametrize("starts", [[0, 3, 3, 8], [0, 9], [1, 8], [0], [0.0, 8.0], [[0, 8]]])
def test_episode_starts_that_do_not_rise_to_the_end_are_refused(tmp_path, starts):
    path = npz_of(tmp_path / "log.npz", episode_starts=np.array(starts))
    with pytest.raises(DataError, match="'episode_starts' does not rise from 0 to its 8 rows"):
        catalog.load(str(path))


def test_damaged_arrays_beside_a_parquet_are_refused(tmp_path):
    path = write_parquet(full_log(), tmp_path / "log.parquet")
    table = pq.read_table(path)
    broken = {**table.schema.metadata, b"gipo_arrays": table.schema.metadata[b"gipo_arrays"][:50]}
    pq.write_table(table.replace_schema_metadata(broken), path)
    with pytest.raises(DataError, match="its 'gipo_arrays' are no safetensors that can be read"):
        catalog.load(str(path))


@pytest.mark.parametrize("kind", ["npz", "parquet", "arrow"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_a_file_cut_short_is_one_sentence(tmp_path, kind, share):
    path = tmp_path / f"log.{kind}"
    if kind == "arrow":
        feather.write_feather(arrow_table(plain_columns()), path)
    else:
        WRITERS[kind](full_log(), path)
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * share)])
    with pytest.raises(DataError) as caught:
        catalog.load(str(path))
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\x00" * 5000, b"PK\x03\x04" + b"\x00" * 50, b"PAR1" * 9, b"ARROW1\x00\x00", b'"']
)
def test_recognising_never_raises(tmp_path, content):
    for name in ("log", "log.txt", "log.json"):
        (tmp_path / name).write_bytes(content)
        assert TABLE.recognises(tmp_path / name) is content.startswith(
            (b"PAR1", b"ARROW1")
        )  # reading says what is wrong
    for name in ("log.npz", "log.parquet", "log.csv", "log.arrow"):
        (tmp_path / name).write_bytes(content)
        TABLE.recognises(tmp_path / name)
    assert TABLE.recognises(tmp_path / "missing") is False
    assert TABLE.recognises(tmp_path) in (True, False)


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
    with pytest.raises(DataError, match="observations_0 to observations_1 and observations_3, and no observations_2"):
        catalog.load(str(tmp_path / "log.csv"))


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
