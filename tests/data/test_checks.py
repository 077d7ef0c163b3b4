"""What can be said of a log without its policy; and how a refusal reads."""

import json
from dataclasses import replace

import h5py
import numpy as np
import pytest

from gipo_cli.data import catalog, repairs
from gipo_cli.data.checks import check
from gipo_cli.data.checks.structure import check_numbers, check_structure
from gipo_cli.data.options import LogOptions
from gipo_cli.data.selection import concatenate, take_episodes
from gipo_cli.errors import DataError, SettingError
from gipo_cli.logs import open_log


@pytest.fixture(scope="module")
def log(cartpole_log):
    return catalog.load(str(cartpole_log))


def spoil(cartpole_log, tmp_path, change):
    path = tmp_path / "spoiled.hdf5"
    path.write_bytes(cartpole_log.read_bytes())
    with h5py.File(path, "r+") as file:
        file["infos/action_log_probs"][:] = change(file["infos/action_log_probs"][:])
    return path


def names(log):
    return [(finding.severity, finding.name) for finding in check(log) if finding.severity != "ok"]


def test_a_clean_recording_raises_nothing_and_shows_the_evidence(log):
    (found,) = check(log)
    assert (found.severity, found.name, found.value) == ("ok", "log-probs", 1.0)


def test_numbers_that_are_not_finite_are_placed_and_their_episodes_can_be_dropped(log):
    rewards = np.array(log.rewards)
    rewards[[7, 9, 500]] = np.nan, np.inf, np.nan
    holed = replace(log, rewards=rewards)
    (found,) = check(holed)
    assert found.meaning == "'rewards' holds a number that is not finite in row 7 (episode 0); 3 rows in all."
    mended = repairs.apply(holed, (found.repair,))
    assert mended.episodes == log.episodes - len(np.unique(log.episode_of_step[[7, 9, 500]]))
    assert names(mended) == []


def test_large_numbers_whose_sum_overflows_are_finite(log):
    large = replace(log, observations=np.full(log.observations.shape, 3e38, np.float32), behaviour_weights=None)
    assert check_numbers(large) == []


def test_columns_that_do_not_belong_together_end_the_list(log):
    short = replace(log, rewards=log.rewards[:-1], terminated=log.terminated)
    assert names(short) == [("error", "length")]


def test_choices_beyond_the_space_are_refused(log):
    assert names(replace(log, actions=log.actions + 1)) == [("error", "choices")]


def test_episodes_that_repeat_an_earlier_one_are_counted_and_dropped(log):
    doubled = concatenate([log, take_episodes(log, [2, 5])], "doubled")
    (found,) = [finding for finding in check(doubled) if finding.severity != "ok"]
    assert (found.name, found.value) == ("duplicate-episodes", 2 / doubled.episodes)
    assert repairs.apply(doubled, (found.repair,)).fingerprint == log.fingerprint


def test_a_limit_that_passes_for_an_end_is_doubted_and_mended(log):
    rows = np.arange(10 * 8)
    starts = np.arange(0, 81, 8)
    columns = {name: column[:80] for name, column in log.columns().items()}
    columns |= {"terminated": rows % 8 == 7, "truncated": np.zeros(80, bool)}
    whole = replace(log, **columns, episode_starts=starts, final_observations=log.observations[:10])
    (found,) = [finding for finding in check(whole) if finding.severity != "ok"]
    assert (found.severity, found.name, found.repair) == ("warning", "limit-as-termination", "timeouts")
    mended = repairs.apply(whole, ("timeouts",))
    assert (mended.terminated.sum(), mended.truncated.sum()) == (0, 10)


def test_observations_of_no_dimension_are_named(log):
    blind = replace(log, observations=log.observations[:, :0], final_observations=log.final_observations[:, :0])
    (found,) = check(blind)
    assert (found.severity, found.meaning[:36]) == ("error", f"the observations have shape [{log.transitions}, 0]"[:36])


def test_one_long_episode_and_no_reward_are_doubted(log):
    lonely = replace(log, episode_starts=np.array([0, log.transitions]), final_observations=log.observations[:1],
                     rewards=np.zeros(log.transitions))  # fmt: skip
    assert ("warning", "one-episode") in names(lonely)
    assert ("warning", "no-rewards") in names(lonely)


def test_actions_beyond_a_squashed_policys_reach_are_refused_and_rescaled():
    hopper = catalog.load("hopper-medium")
    wide = replace(hopper.action_space, low=np.full(3, -2, np.float32), high=np.full(3, 2, np.float32))
    stretched = replace(hopper, actions=hopper.actions * 2, action_space=wide, pre_squash_actions=None)
    (found,) = check(stretched)[:1]
    assert (found.severity, found.name, found.repair) == ("error", "action-scale", "rescale-actions")
    narrow = replace(stretched, action_space=hopper.action_space)
    assert check(narrow)[0].repair == ""  # they reach beyond the bounds that it would divide by
    mended = repairs.apply(stretched, (found.repair,))
    np.testing.assert_allclose(mended.actions, hopper.actions, atol=1e-7)
    np.testing.assert_array_equal(mended.executed_actions, stretched.actions)
    assert [name for severity, name in names(mended) if severity == "error"] == []


def test_some_made_up_values_among_real_ones_are_counted():
    hopper = catalog.load("hopper-medium")
    values = np.array(hopper.behaviour_log_probs)
    values[::50] = 0
    found = check(replace(hopper, behaviour_log_probs=values))[0]
    assert (found.name, found.value) == ("placeholder-log-probs", pytest.approx(0.02, abs=1e-4))


def test_steps_of_an_agent_that_began_with_random_actions_are_no_placeholders():
    hopper = catalog.load("hopper-medium-replay")
    values = np.array(hopper.behaviour_log_probs)
    values[:5000] = -3 * np.log(2)
    assert check_structure(replace(hopper, behaviour_log_probs=values)) == []


def test_log_probs_of_few_bits_are_no_placeholders():
    hopper = take_episodes(catalog.load("hopper-medium"), range(40))
    noise = np.random.default_rng(0).standard_normal(hopper.transitions)
    half = (-0.5 * noise**2 - 0.4).astype(np.float16)  # one dimension of a fixed width: 2 % share the largest value
    short = replace(hopper, behaviour_log_probs=half)
    assert "placeholder-log-probs" not in [f.name for f in check_structure(short)]
    half[::5] = 0
    assert "placeholder-log-probs" in [f.name for f in check_structure(replace(short, behaviour_log_probs=half))]


@pytest.mark.parametrize("world", ["one step an episode", "one-hot states"])
def test_episodes_of_a_small_world_repeat_by_nature(log, world):
    steps = 1 if world == "one step an episode" else 4
    observations = np.tile(np.eye(2, dtype=np.float32)[[0, 0, 1, 1]] + (0.5 if steps == 1 else 0), (20, 1))
    n = len(observations)
    ends = np.arange(n) % steps == steps - 1
    columns = {"observations": observations, "actions": np.arange(n) % 2, "rewards": np.ones(n), "truncated": ends,
               "behaviour_log_probs": np.full(n, -np.log(2)), "terminated": np.zeros(n, bool)}  # fmt: skip
    small = replace(log, **columns, episode_starts=np.arange(0, n + 1, steps), behaviour_weights=None,
                    final_observations=observations[: n // steps])  # fmt: skip
    assert names(small) == []


def test_a_refusal_says_what_is_wrong_what_it_would_do_and_what_mends_it(gipo, cartpole_log, tmp_path):
    path = spoil(cartpole_log, tmp_path, lambda x: x / np.log(10))
    outcome = gipo("train", "--dataset", path, "--out", tmp_path / "run")
    assert outcome.exit_code == 3
    assert outcome.stderr == (
        "gipo: spoiled: the log-probs are logs to base 10. [base-10]\n"
        "      Trained on as it is: every importance ratio is wrong, and with it every weight, every bound and every "
        "verdict.\n"
        "      It can be mended exactly: --repair base10\n"
        "      If you know better: --accept base-10\n"
        f"      All that is known of it: gipo datasets check {path}\n"
    )
    assert not (tmp_path / "run").exists()
    again = gipo("train", "--dataset", path, "--out", tmp_path / "run", "--accept", "base10")
    assert "--accept base10 is not its name.\n      If you know better: --accept base-10\n" in again.stderr


def test_two_mistakes_at_once_are_named_in_the_order_in_which_to_mend_them(log):
    values = -log.behaviour_log_probs / np.log(10)
    spoiled = replace(log, behaviour_log_probs=values, behaviour_weights=None)
    found = [f.repair for f in check(spoiled) if f.severity == "error"]
    assert found == ["negate", "base10"]
    assert names(repairs.apply(spoiled, tuple(found))) == []


def test_a_repair_is_not_made_twice(cartpole_log, tmp_path):
    path = spoil(cartpole_log, tmp_path, lambda x: x / np.log(10))
    with pytest.raises(DataError, match="was mended by 'base10' already; a second time would spoil it"):
        open_log(str(path), LogOptions(repair=("base10", "base10")))


def test_copies_of_episodes_do_not_make_uniform_log_probs_wrong():
    once = take_episodes(catalog.load("hopper-random"), range(100))
    twice = concatenate([once, once], "twice")
    assert [f.name for f in check(twice) if f.severity != "ok"] == ["duplicate-episodes"]


def test_a_policy_is_taken_from_wherever_record_takes_one(cartpole_log, tmp_path):
    with pytest.raises(DataError, match=r"there is no policy .*none") as refused:
        open_log(str(cartpole_log), LogOptions(behaviour=str(tmp_path / "none")))
    assert "Expected a run, a checkpoint, a .safetensors policy or a .zip of Stable-Baselines3." in refused.value.hint
    with pytest.raises(SettingError, match="--behaviour computes the log-probs exactly, --estimate-behaviour guesses"):
        open_log(str(cartpole_log), LogOptions(behaviour=str(tmp_path / "none"), estimate_behaviour=True))


def test_the_check_lists_everything_and_leaves_with_3_where_something_is_wrong(gipo, cartpole_log, tmp_path):
    path = spoil(cartpole_log, tmp_path, np.exp)
    outcome = gipo("datasets", "check", path)
    assert outcome.exit_code == 3
    lines = outcome.stdout.splitlines()
    assert lines[1] == "error    probabilities: the log-probs are probabilities (or densities), not their logs."
    assert "         Mends it exactly: --repair log" in lines
    assert lines[-1] == "1 errors, 0 warnings"
    document = json.loads(gipo("datasets", "check", path, "--json").stdout)
    assert document["findings"][0]["repair"] == "log"
    assert gipo("datasets", "check", path, "--repair", "log").exit_code == 0


def test_a_run_keeps_the_repairs_and_the_errors_that_were_accepted(gipo, cartpole_log, tmp_path):
    path = spoil(cartpole_log, tmp_path, lambda x: x / np.log(2) - 0.5)
    quick = ("--steps", "10", "--set", "critic_steps=10", "--device", "cpu", "--quiet", "--json")
    refused = gipo("train", "--dataset", path, "--out", tmp_path / "no", "--repair", "base2", *quick)
    assert "[constant-offset]" in refused.stderr
    outcome = gipo("train", "--dataset", path, "--out", tmp_path / "run", "--repair", "base2",
                   "--accept", "constant-offset", *quick)  # fmt: skip
    assert outcome.exit_code == 0, outcome.stderr
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["dataset"]["repairs"] == ["base2"]
    assert [(w["name"], w["severity"]) for w in record["warnings"]] == [("constant-offset", "error")]
    # The configuration repeats the run, repairs included.
    again = gipo(
        "train", "--config", tmp_path / "run" / "config.toml", "--out", tmp_path / "again", "--quiet", "--json"
    )
    assert again.exit_code == 0, again.stderr


def test_repairs_that_are_none_or_cannot_be_applied_are_refused(cartpole_log):
    with pytest.raises(SettingError, match="there is no repair 'base11'") as refused:
        open_log(str(cartpole_log), LogOptions(repair=("base11",)))
    assert refused.value.hint == "Did you mean 'base10'?"
    with pytest.raises(DataError, match="the repair 'log' cannot be applied"):
        open_log(str(cartpole_log), LogOptions(repair=("log",)))
    with pytest.raises(DataError, match="nothing to sum"):
        open_log(str(cartpole_log), LogOptions(repair=("sum-dimensions",)))


def test_constant_log_probs_too_few_to_verify_are_doubted(d4rl):
    findings = open_log(str(d4rl(infos__action_log_probs=np.full(12, -0.3)))).findings
    assert [(finding.severity, finding.name) for finding in findings] == [("warning", "constant-log-probs")]
    uniform = open_log(str(d4rl("u.hdf5", infos__action_log_probs=np.full(12, -np.log(2))))).findings
    assert uniform == []


def test_log_probs_of_another_number_of_dimensions_are_refused(d4rl):
    with pytest.raises(DataError, match=r"the log-probs have shape \[12, 3\]; expected \[12\]"):
        open_log(str(d4rl(infos__action_log_probs=np.zeros((12, 3)))))


def test_names_and_paths_are_told_apart():
    with pytest.raises(SettingError, match="there is no dataset 'hoper-medium'") as refused:
        catalog.load("hoper-medium")
    assert refused.value.hint == "Did you mean 'hopper-medium'?"
    with pytest.raises(DataError, match=r"there is no file somewhere/else"):
        catalog.load("somewhere/else")


def test_a_column_of_an_unusual_name_is_taken_when_it_is_named(gipo, d4rl):
    values = np.linspace(-1, 1, 12).astype(np.float32)
    path = d4rl(drop=("infos/action_log_probs",), infos__of_beta=values)
    for key in ("infos/of_beta", "of_beta"):
        log = open_log(str(path), LogOptions(log_prob_key=key)).log
        np.testing.assert_array_equal(log.behaviour_log_probs, values)
        assert log.log_probs_origin == "recorded"
    outcome = gipo("datasets", "check", path, "--log-prob-key", "of_bets")
    assert outcome.exit_code == 3
    assert f"{path} has no column 'of_bets'." in outcome.stderr


def test_the_density_that_is_named_wins_over_the_one_that_actions_suggest(gipo, d4rl):
    path = d4rl()
    assert catalog.load(str(path)).convention == "tanh_gaussian"
    assert open_log(str(path), LogOptions(log_prob_convention="gaussian")).log.convention == "gaussian"
    outcome = gipo("datasets", "check", path, "--log-prob-convention", "gausian")
    assert outcome.exit_code == 2
    assert outcome.stderr == "gipo: there is no log-prob convention 'gausian'.\n      Did you mean 'gaussian'?\n"
