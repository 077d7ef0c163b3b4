"""RLlib's files. Those under files/rllib-* were written by RLlib itself (files/make_rllib.py)."""

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gipo_cli.data import catalog
from gipo_cli.data.log_probs import categorical_log_probs, gaussian_log_probs
from gipo_cli.data.options import ReadOptions
from gipo_cli.data.readers.rllib import RLLIB
from gipo_cli.errors import DataError

FILES = Path(__file__).parent / "files"


def columns(n=6, drop=(), **replaced):
    rng = np.random.default_rng(0)
    logits, actions = rng.standard_normal((n, 3)), rng.integers(0, 3, n)
    observations = rng.standard_normal((n + 1, 2))
    found = {
        "obs": observations[:-1], "new_obs": observations[1:], "actions": actions,
        "rewards": np.ones(n), "terminateds": np.arange(n) == n - 1, "truncateds": np.zeros(n, bool),
        "eps_id": np.zeros(n, int), "t": np.arange(n), "unroll_id": np.zeros(n, int),
        "action_logp": categorical_log_probs(logits, actions), "action_dist_inputs": logits,
        "infos": [{"text": "never read"}] * n,
    } | replaced  # fmt: skip
    return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in found.items() if k not in drop}


@pytest.fixture
def lines(tmp_path):
    """Write a file of JSON lines: dictionaries of columns become SampleBatches, text stays as it is."""

    def write(*batches):
        path = tmp_path / "log.json"
        texts = [b if isinstance(b, str) else json.dumps({"type": "SampleBatch", **b}) for b in batches]
        path.write_text("\n".join(texts) + "\n")
        return path

    return write


def test_rllibs_own_json_of_two_environments_that_take_turns():
    log = catalog.load(str(FILES / "rllib-json"))
    raw = [json.loads(line) for line in (FILES / "rllib-json" / "output_worker-0_0.json").read_text().splitlines()]
    inputs = np.concatenate([batch["action_dist_inputs"] for batch in raw])
    actions = np.concatenate([batch["actions"] for batch in raw])
    rewards = np.concatenate([batch["rewards"] for batch in raw])
    order = np.argsort(rewards % 2, kind="stable")  # rows took turns: even rewards are the first environment's
    np.testing.assert_array_equal(log.rewards, rewards[order])
    assert log.episode_starts.tolist() == [0, 6, 12]
    assert log.terminated.nonzero()[0].tolist() == [5]
    assert log.truncated.nonzero()[0].tolist() == [11]
    np.testing.assert_array_equal(log.final_observations[1], np.float32(raw[1]["new_obs"][-1]))
    density = gaussian_log_probs(inputs[:, :2], inputs[:, 2:], actions)
    np.testing.assert_allclose(log.behaviour_log_probs, density[order], atol=1e-6)
    # gaussian is proven by action_dist_inputs, not guessed: no note says so.
    assert (log.convention, log.log_probs_origin) == ("gaussian", "recorded")
    assert log.notes == ("rows of several episodes took turns; each episode was put together by eps_id and t.",)


def test_rllibs_own_parquet_rows():
    log = catalog.load(str(FILES / "rllib-parquet"))
    tables = [pq.read_table(file) for file in sorted((FILES / "rllib-parquet").iterdir())]
    table = pa.concat_tables(tables).to_pydict()
    assert log.episode_starts.tolist() == [0, 4, 8]
    assert (log.convention, log.action_space.n, log.notes) == ("categorical", 3, ())
    np.testing.assert_array_equal(log.observations, np.float32(table["obs"]))
    expected = categorical_log_probs(np.array(table["action_dist_inputs"]), np.array(table["actions"]))
    np.testing.assert_allclose(log.behaviour_log_probs, expected, atol=1e-6)
    assert log.terminated.nonzero()[0].tolist() == [3]
    assert log.truncated.nonzero()[0].tolist() == [7]


def test_what_rllib_packed_is_refused_and_never_unpacked():
    place = FILES / "rllib-packed"
    with pytest.raises(DataError) as caught:
        catalog.load(str(place))
    assert caught.value.message == (
        f"{place / 'output_worker-0_0.json'}: line 1: 'obs' is packed (base64 or msgpack of Python objects); "
        "unpacking it would run code that the file brings along."
    )
    assert "compress_columns=[]" in caught.value.hint


@pytest.mark.parametrize("column", ["obs", "action_logp"])
def test_packed_parquet_is_refused(tmp_path, column):
    table = {k: v for k, v in columns().items() if k != "infos"} | {column: ["gASVqAAAAAAAAACM"] * 6}
    pq.write_table(pa.table(table), tmp_path / "log.parquet")
    with pytest.raises(DataError, match=f"'{column}' is packed .* would run code"):
        catalog.load(str(tmp_path / "log.parquet"))


def test_whole_episodes_in_an_item_column_are_refused(tmp_path):
    pq.write_table(pa.table({"item": [b"\x80\x04K\x01."]}), tmp_path / "log.parquet")
    with pytest.raises(DataError, match=r"its episodes are packed .* would run code") as caught:
        catalog.load(str(tmp_path / "log.parquet"))
    assert "output_write_episodes=False" in caught.value.hint


@pytest.mark.parametrize("zero", [True, False])
def test_log_probs_come_from_the_logits_where_action_logp_is_zero_or_missing(lines, zero):
    batch = columns()
    expected = batch.pop("action_logp")
    log = catalog.load(str(lines(batch | ({"action_logp": [0.0] * 6} if zero else {}))))
    np.testing.assert_allclose(log.behaviour_log_probs, expected)
    assert log.log_probs_origin == "recorded"
    assert log.notes[-1] == "log-probs computed from action_dist_inputs, as logits of the choices."
    assert ("action_logp is zero throughout" in log.notes[0]) is zero


def test_log_probs_come_from_mean_and_log_std_of_float_actions(lines):
    rng = np.random.default_rng(1)
    mean, log_std, actions = rng.standard_normal((3, 6, 2))
    batch = columns(actions=actions, action_dist_inputs=np.concatenate([mean, log_std], 1), drop=("action_logp",))
    log = catalog.load(str(lines(batch)))
    np.testing.assert_allclose(log.behaviour_log_probs, gaussian_log_probs(mean, log_std, actions))
    assert log.convention == "gaussian"
    assert log.notes == ("log-probs computed from action_dist_inputs, as mean and log standard deviation.",)


def test_a_declared_squashed_gaussian_has_its_own_density(lines):
    rng = np.random.default_rng(1)
    mean, log_std, u = rng.standard_normal((3, 6, 2)) * 0.5
    batch = columns(actions=np.tanh(u), action_dist_inputs=np.concatenate([mean, log_std], 1), drop=("action_logp",))
    log = catalog.load(str(lines(batch)), ReadOptions(log_prob_convention="tanh_gaussian"))
    expected = gaussian_log_probs(mean, log_std, u) - np.log(1 - np.tanh(u) ** 2).sum(1)
    np.testing.assert_allclose(log.behaviour_log_probs, expected, rtol=1e-6)
    assert log.convention == "tanh_gaussian"


def test_what_an_experiment_keeps_beside_its_output_is_not_read(lines):
    path = lines(columns())
    for name in ("params.json", "result.json"):
        (path.parent / name).write_text('{"lr": 0.1,\n "env": "CartPole-v1"}\n')
    path.rename(path.with_name("worker-0.json"))
    assert RLLIB.recognises(path.parent)
    assert catalog.load(str(path.parent)).transitions == 6
    (path.parent / "a-damaged.json").write_text('{"ty')  # one of its outputs is no file to pass over
    with pytest.raises(DataError, match=r"a-damaged.json: line 1 is not JSON"):
        catalog.load(str(path.parent))


def test_a_squashed_gaussian_is_told_by_its_numbers(lines):
    rng = np.random.default_rng(1)
    mean, log_std, u = rng.standard_normal((3, 6, 2)) * 0.5
    logp = gaussian_log_probs(mean, log_std, u) - np.log(1 - np.tanh(u) ** 2).sum(1)
    inputs = np.concatenate([mean, log_std], 1)
    log = catalog.load(str(lines(columns(actions=np.tanh(u), action_dist_inputs=inputs, action_logp=logp))))
    assert (log.convention, log.notes) == ("tanh_gaussian", ())


def test_log_probs_come_from_action_prob_where_there_is_nothing_else(lines):
    batch = columns(action_prob=np.full(6, 0.25), drop=("action_logp", "action_dist_inputs"))
    log = catalog.load(str(lines(batch)))
    np.testing.assert_allclose(log.behaviour_log_probs, np.log(0.25))
    assert log.notes == ("log-probs computed as the natural log of action_prob.",)


def test_a_log_without_any_log_probs_is_read_and_says_what_there_is(lines):
    log = catalog.load(str(lines(columns(drop=("action_logp", "action_dist_inputs")))))
    assert log.log_probs_origin == "none"
    assert log.notes[0].startswith("no log-probs: its columns hold actions, eps_id, infos, new_obs, obs, rewards")


def test_dones_of_old_files_count_as_true_ends(lines):
    dones = [False, False, True, False, False, True]
    batch = columns(drop=("terminateds", "truncateds"), dones=dones, eps_id=np.repeat([7, 3], 3))
    log = catalog.load(str(lines(batch)))
    assert log.terminated.tolist() == dones
    assert "'dones' does not tell a true end from a time limit; all count as true ends." in log.notes


def test_done_without_being_terminated_is_cut(lines):
    batch = columns(terminateds=np.arange(6) == 5, dones=np.arange(6) % 3 == 2, drop=("truncateds",))
    log = catalog.load(str(lines(batch)))
    assert (log.terminated.nonzero()[0].tolist(), log.truncated.nonzero()[0].tolist()) == ([5], [2])


def test_dones_that_are_cut_are_no_true_ends(lines):
    dones, cut = np.arange(6) % 3 == 2, np.arange(6) == 5
    batch = columns(drop=("terminateds",), dones=dones, truncateds=cut, eps_id=np.repeat([7, 3], 3))
    log = catalog.load(str(lines(batch)))
    assert (log.terminated.nonzero()[0].tolist(), log.truncated.nonzero()[0].tolist()) == ([2], [5])


def test_a_multi_agent_batch_of_one_policy_reads_as_that_policys(lines):
    plain = catalog.load(str(lines(columns())))
    several = {"type": "MultiAgentBatch", "count": 6, "policy_batches": {"default_policy": columns()}}
    assert catalog.load(str(lines(json.dumps(several)))).fingerprint == plain.fingerprint


def test_agents_of_one_episode_are_episodes_of_their_own(lines):
    batch = columns(agent_index=np.tile([0, 1], 3), t=np.repeat([0, 1, 2], 2), drop=("new_obs",))
    log = catalog.load(str(lines(batch)))
    assert log.episodes == 2


def test_a_step_left_out_ends_an_episode(lines):
    log = catalog.load(str(lines(columns(t=np.array([0, 1, 2, 6, 7, 8])))))
    assert log.episode_lengths.tolist() == [3, 3]
    assert log.truncated.tolist() == [False, False, True, False, False, False]


def test_another_key_may_hold_the_log_probs(lines):
    path = lines(columns(mine=np.full(6, -1.5)))
    log = catalog.load(str(path), ReadOptions(log_prob_key="mine"))
    assert log.behaviour_log_probs.tolist() == [-1.5] * 6


NOT_JSON = "{path}: line 2 is not JSON that can be read "


@pytest.mark.parametrize(
    ("second", "expected"),
    [
        ("{", NOT_JSON),
        ('{"type": "SampleBatch", "obs": ' + "[" * 100_000, "{path}: line 2 is nested too deeply"),
        ('{"type": "SampleBatch", "t": [' + "9" * 5000 + "]}", NOT_JSON + r"\(Exceeds the limit"),
        ('{"type": "SampleBatch", "t": [0], "t": [1]}', NOT_JSON + r"\(the key 't' stands there twice\)"),
        ('{"type": "Other"}', "{path}: line 2 is neither a SampleBatch nor a MultiAgentBatch."),
        ("[1, 2]", "{path}: line 2 is neither a SampleBatch nor a MultiAgentBatch."),
        ("\xff", NOT_JSON),
        (
            '{"type": "MultiAgentBatch", "policy_batches": {"a": {}, "b": {}}}',
            r"{path}: line 2 has 2 policies \(a, b\); expected one.",
        ),
        (
            '{"type": "MultiAgentBatch", "policy_batches": {"a": {}}}',
            "{path}: line 2 is of policy 'a', lines before of ''; expected one.",
        ),
        (columns(rewards=[1, 2, float("nan"), 4, 5, 6]), "{path}: line 2: 'rewards' .* not finite in row 2"),
        (columns(rewards=[float("inf")] * 6), "{path}: line 2: 'rewards' holds a number that is not finite in row 0"),
        (columns(eps_id=[2**70] * 6), "{path}: line 2: 'eps_id' does not hold numbers"),
        (columns(t=[2**63 + 1] * 6), "{path}: line 2: 't' holds a whole number beyond 64 bits"),
        (columns(obs=[[1, 2], [3]] * 3), "{path}: line 2: 'obs' has rows of different shapes"),
        (columns(obs=[{"camera": 1}] * 6), "{path}: line 2: 'obs' does not hold numbers"),
        (columns(obs={"camera": [1]}), "{path}: line 2: 'obs' does not hold numbers"),
        (columns(obs=[["gASV"]] * 6), "{path}: line 2: 'obs' does not hold numbers"),
        (columns(rewards=["a"] * 6), "{path}: line 2: 'rewards' is packed"),
        (columns(rewards=[1.0]), "{path}: line 2 has columns of different lengths: obs 6, actions 6, rewards 1"),
        (columns(obs=np.zeros((6, 3))), r"{path}: line 2: 'obs' has rows of shape \[3\]; expected \[2\] as before"),
        (columns(drop=("rewards",)), "{path}: line 2: 'rewards' is not in every line"),
        (columns(), "{path}: rows 0 and 6 are both step 0 of one episode."),
    ],
)  # fmt: skip
def test_a_bad_line_is_named_and_never_skipped(lines, second, expected):
    path = lines(columns(), second)
    with pytest.raises(DataError, match=expected.replace("{path}", str(path))):
        catalog.load(str(path))


def test_a_file_cut_in_the_middle_of_a_line_is_an_error(lines):
    path = lines(columns(), columns(eps_id=[1] * 6))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"log.json: line 2 is not JSON that can be read"):
        catalog.load(str(path))


def test_missing_columns_are_named(lines):
    with pytest.raises(DataError, match=r"has no column 'obs'") as caught:
        catalog.load(str(lines(columns(drop=("obs",)))))
    assert "It holds: action_dist_inputs, action_logp, actions," in caught.value.hint


def test_links_out_of_the_directory_are_refused(tmp_path):
    shutil.copytree(FILES / "rllib-json", tmp_path / "log")
    outside = tmp_path / "outside.json"
    outside.write_text(json.dumps({"type": "SampleBatch", **columns()}))
    (tmp_path / "log" / "zz.json").symlink_to(outside)
    with pytest.raises(DataError, match=r"zz\.json is a link that leaves .*log; nothing outside a dataset is read"):
        catalog.load(str(tmp_path / "log"))


def test_actions_beyond_the_logits_are_refused(lines):
    with pytest.raises(DataError, match="actions range from 0 to 3, and 'action_dist_inputs' has logits of 3 choices"):
        catalog.load(str(lines(columns(actions=[0, 1, 2, 3, 0, 1], drop=("action_logp",)))))


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\x00" * 5000, b"PAR1", b"PAR1" + b"\xff" * 100 + b"PAR1", b"[" * 9000]
)
def test_recognising_never_raises(tmp_path, content):
    for name in ("log.json", "log.parquet"):
        (tmp_path / name).write_bytes(content)
        assert RLLIB.recognises(tmp_path / name) is False
    assert RLLIB.recognises(tmp_path / "missing") is False
    assert RLLIB.recognises(tmp_path) is False
