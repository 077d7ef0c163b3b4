"""Every release of D4RL, written small as the real files are laid out: each reads as what it is.

The layouts are those that D4RL's own generators write and that its readers know: which columns there are, of which
type and shape, what the policy under metadata/policy looks like, and where episodes end without saying so.
"""

import h5py
import numpy as np
import pytest
from scipy.stats import norm

from gipo_cli.data import catalog
from gipo_cli.data.log_probs import categorical_log_probs, gaussian_log_probs
from gipo_cli.data.options import LogOptions
from gipo_cli.errors import DataError
from gipo_cli.logs import open_log

EPISODES, LENGTH, OBSERVED, ACTED = 4, 10, 11, 3
STEPS = EPISODES * LENGTH
LAST = np.arange(LENGTH - 1, STEPS, LENGTH)
UNIFORM = -ACTED * np.log(2.0)  # of a uniform policy over [-1, 1]^3: what the random files hold in every row


def columns(float_type="f4"):
    """MuJoCo v0: no infos. Episodes 0 and 2 terminate, 1 and 3 time out; next observations cross no border."""
    rng = np.random.default_rng(7)
    observations = rng.standard_normal((STEPS, OBSERVED)).astype(float_type)
    following = np.roll(observations, -1, 0)
    following[LAST] = rng.standard_normal((EPISODES, OBSERVED))
    terminals, timeouts = np.zeros(STEPS, bool), np.zeros(STEPS, bool)
    terminals[LAST[[0, 2]]] = timeouts[LAST[[1, 3]]] = True
    return {
        "observations": observations, "next_observations": following, "terminals": terminals, "timeouts": timeouts,
        "actions": rng.uniform(-0.99, 0.99, (STEPS, ACTED)).astype(float_type),
        "rewards": rng.standard_normal(STEPS).astype(float_type),
    }  # fmt: skip


def infos(float_type="f4", log_probs=None):
    """v1 and v2: the simulator's state and the log-prob of each action."""
    rng = np.random.default_rng(8)
    values = rng.normal(1.0, 1.5, STEPS) if log_probs is None else np.full(STEPS, log_probs)
    return {
        "infos/qpos": rng.standard_normal((STEPS, 6)).astype(float_type),
        "infos/qvel": rng.standard_normal((STEPS, 6)).astype(float_type),
        "infos/action_log_probs": values.astype(float_type),
    }


def policy(hidden=8, distribution=b"tanh_gaussian", nonlinearity=b"relu", observed=OBSERVED, acted=ACTED):
    """metadata/policy: torch's [out, in] weights of two hidden layers, a mean and a log standard deviation."""
    rng = np.random.default_rng(9)
    sizes = {
        "fc0": (hidden, observed), "fc1": (hidden, hidden), "last_fc": (acted, hidden),
        "last_fc_log_std": (acted, hidden),
    }  # fmt: skip
    weights = {f"metadata/policy/{k}/weight": 0.1 * rng.standard_normal(s).astype("f4") for k, s in sizes.items()}
    biases = {f"metadata/policy/{k}/bias": np.zeros(s[0], "f4") for k, s in sizes.items()}
    names = {"nonlinearity": nonlinearity, "output_distribution": distribution}
    return weights | biases | {f"metadata/policy/{k}": np.bytes_(v) for k, v in names.items()}


MADE_BY = {"metadata/algorithm": np.bytes_("SAC"), "metadata/iteration": np.int32(900)}


def adroit(log_std_key):
    """Adroit's experts: the Gaussian of every step, no log-prob of it."""
    rng = np.random.default_rng(10)
    found = columns()
    log_std = rng.uniform(-2, 0, (STEPS, ACTED)).astype("f4")
    mean = (found["actions"] + np.exp(log_std) * rng.standard_normal((STEPS, ACTED))).astype("f4")
    qpos = rng.standard_normal((STEPS, 30)).astype("f4")
    return found | {"infos/action_mean": mean, f"infos/{log_std_key}": log_std, "infos/qpos": qpos}


def transposed():
    """Adroit v1 cloned: weights of the first and last layer stored [in, out], no log standard deviation."""
    found = {name: value for name, value in policy(distribution=b"gaussian").items() if "log_std" not in name}
    for name in ("fc0", "last_fc"):
        found[f"metadata/policy/{name}/weight"] = found[f"metadata/policy/{name}/weight"].T.copy()
    return found


VARIANTS = {
    # name: columns; origin of the log-probs; whether the file's policy is taken
    "mujoco v0": (columns(), "none", False),
    "medium-v2, expert-v2": (columns() | infos() | MADE_BY | policy(), "recorded", True),
    "medium-expert-v2": (columns() | infos(), "recorded", False),
    "medium-replay-v2, full-replay-v2": (columns("f8") | infos("f8") | MADE_BY, "recorded", False),
    "random-v2": (columns() | infos(log_probs=UNIFORM), "recorded", False),
    "adroit expert-v0": (adroit("action_logstd"), "recorded", False),
    "adroit expert-v1": (
        adroit("action_log_std") | policy(distribution=b"gaussian", nonlinearity=b"tanh"), "recorded", True,
    ),
    "adroit cloned-v1": (columns() | {"metadata/algorithm": np.bytes_("BC")} | transposed(), "none", False),
    "adroit human-v1, kitchen, antmaze": (
        columns() | {key: column for key, column in infos().items() if "log" not in key}, "none", False,
    ),
}  # fmt: skip


@pytest.fixture
def write(tmp_path):
    """Write columns as D4RL writes them: every array gzip-compressed, scalars as they are."""

    def write(found, name="hopper.hdf5"):
        with h5py.File(tmp_path / name, "w") as file:
            for key, value in found.items():
                packed = {"compression": "gzip"} if np.ndim(value) else {}
                file.create_dataset(key, data=value, **packed)
        return str(tmp_path / name)

    return write


@pytest.mark.parametrize(("found", "origin", "has_policy"), VARIANTS.values(), ids=VARIANTS)
def test_each_release_reads_as_what_it_is(write, found, origin, has_policy):
    log = catalog.load(write(found))
    assert (log.transitions, log.episode_starts.tolist()) == (STEPS, [0, 10, 20, 30, 40])
    assert log.terminated.nonzero()[0].tolist() == LAST[[0, 2]].tolist()
    assert log.truncated.nonzero()[0].tolist() == LAST[[1, 3]].tolist()
    np.testing.assert_array_equal(log.next_observations(), found["next_observations"])
    for name in ("observations", "actions", "rewards"):
        column = getattr(log, name)
        np.testing.assert_array_equal(column, found[name])
        assert column.dtype == found[name].dtype
    assert (log.log_probs_origin, log.behaviour_weights is not None) == (origin, has_policy)
    if "infos/action_log_probs" in found:
        np.testing.assert_array_equal(log.behaviour_log_probs, found["infos/action_log_probs"])
        assert log.convention == "tanh_gaussian"
    elif origin == "none":
        assert np.isnan(log.behaviour_log_probs).all()


def test_mujoco_v0_has_no_infos_and_says_so(write):
    assert "no log-probs: its infos hold nothing." in catalog.load(write(columns())).notes


def test_random_has_one_log_prob_which_is_right_for_a_uniform_policy(write):
    opened = open_log(write(columns() | infos(log_probs=UNIFORM)))
    assert opened.findings == []


@pytest.mark.parametrize("key", ["action_logstd", "action_log_std"])
def test_adroit_log_probs_are_the_exact_density_of_each_steps_gaussian(write, key):
    found = adroit(key)
    log = catalog.load(write(found))
    mean, log_std = found["infos/action_mean"].astype(float), found[f"infos/{key}"].astype(float)
    expected = norm.logpdf(found["actions"].astype(float), mean, np.exp(log_std)).sum(-1)
    np.testing.assert_allclose(log.behaviour_log_probs, expected, rtol=1e-12)
    assert log.convention == "gaussian"
    assert f"log-probs are computed from infos/action_mean and infos/{key}, the Gaussian of each step." in log.notes


def test_adroit_log_probs_are_taken_from_the_file_where_it_has_both(write):
    found = adroit("action_log_std") | infos()
    np.testing.assert_array_equal(catalog.load(write(found)).behaviour_log_probs, found["infos/action_log_probs"])


def test_adroit_means_of_another_width_are_refused(write):
    found = adroit("action_log_std") | {"infos/action_mean": np.zeros((STEPS, 2), "f4")}
    with pytest.raises(DataError, match=r"'infos/action_mean' has shape \[40, 2\], 'actions' \[40, 3\]"):
        catalog.load(write(found))


def test_adroit_gaussians_are_not_passed_off_as_another_density(write):
    path = write(adroit("action_log_std"))
    with pytest.raises(DataError, match="their density is gaussian, not tanh_gaussian"):
        catalog.load(path, LogOptions(log_prob_convention="tanh_gaussian"))


def test_adroit_cloned_weights_are_transposed_and_not_taken_for_the_policy(write):
    log = catalog.load(write(columns() | infos() | transposed()))
    assert log.behaviour_weights is None
    assert "the policy in metadata/policy is not used: its weights are stored transposed." in log.notes


@pytest.mark.parametrize("suffix", [".hdf5", ".npz", ".parquet", ""])
def test_a_single_number_beside_a_policys_layers_is_no_layer(gipo, write, tmp_path, suffix):
    path = write(columns() | infos() | policy() | {"metadata/policy/alpha": np.float32(0.2)})
    outcome = gipo("datasets", "convert", path, str(tmp_path / f"out{suffix}"))
    assert outcome.exit_code == 0, outcome.stderr
    for place in (path, str(tmp_path / f"out{suffix}")):
        assert sorted(catalog.load(place).behaviour_weights.arrays)[:2] == ["fc0/bias", "fc0/weight"]
        assert gipo("datasets", "info", place).exit_code == 0


def test_ends_that_replay_does_not_mark_are_found(write):
    found = columns("f8") | infos("f8") | {"timeouts": np.zeros(STEPS, bool)}
    log = catalog.load(write(found))
    assert log.truncated.nonzero()[0].tolist() == LAST[[1, 3]].tolist()


def test_all_terminals_zero_is_normal(write):
    timeouts = np.zeros(STEPS, bool)
    timeouts[LAST] = True
    log = catalog.load(write(columns() | infos() | {"terminals": np.zeros(STEPS, bool), "timeouts": timeouts}))
    assert (log.episodes, log.terminated.any()) == (EPISODES, False)
    assert not [note for note in log.notes if "end" in note]


def test_a_timeout_wins_over_a_terminal_when_it_was_written_and_stays_a_timeout(write):
    """At the last allowed step the generator marks a timeout and no terminal, whatever the simulator said."""
    found = columns() | infos()
    assert not (found["terminals"] & found["timeouts"]).any()
    log = catalog.load(write(found))
    assert log.truncated[LAST[1]] and not log.terminated[LAST[1]]


def test_next_observations_that_cross_into_the_next_episode_are_not_bootstrapped_from(write):
    """Made by shifting the observations by a row: the value of the next episode's start would stand for a cut end."""
    found = columns() | infos()
    found["next_observations"] = np.roll(found["observations"], -1, 0)
    timeouts = found["timeouts"].copy()
    timeouts[5] = True  # two cut episodes before the last row
    log = catalog.load(write(found | {"timeouts": timeouts}))
    assert "next observations lead from each cut episode into the next one; they are not used." in log.notes
    assert log.episode_lengths.tolist() == [5, 4, 9, 10, 9]
    np.testing.assert_array_equal(log.final_observations[2], found["observations"][19])


def test_an_end_that_looks_like_every_beginning_is_taken_for_what_it_is(write):
    """A log of one state, as of a bandit that is cut after each step."""
    found = {key: column for key, column in (columns() | infos()).items()}
    same = np.ones((STEPS, OBSERVED), "f4")
    cut = {"terminals": np.zeros(STEPS, bool), "timeouts": np.ones(STEPS, bool)}
    log = catalog.load(write(found | cut | {"observations": same, "next_observations": same}))
    assert (log.episodes, log.transitions) == (STEPS, STEPS)


def test_without_next_observations_a_timed_out_episode_gives_up_its_last_step(write):
    found = {key: column for key, column in (columns() | infos()).items() if key != "next_observations"}
    log = catalog.load(write(found))
    assert log.episode_lengths.tolist() == [10, 9, 10, 9]
    np.testing.assert_array_equal(log.final_observations[1], found["observations"][19])


@pytest.mark.parametrize("key", ["next_observations", "timeouts"])
def test_a_file_larger_than_memory_is_mapped_and_the_same(write, tmp_path, monkeypatch, key):
    """Where steps have to be given up, the rows that stay are mapped too, and again from the cache the second time."""
    path = write({name: column for name, column in (columns() | infos()).items() if name != key})
    plain = catalog.load(path)
    monkeypatch.setenv("GIPO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GIPO_COLUMN_MEMORY", "100")
    mapped = catalog.load(path)
    assert all(isinstance(getattr(mapped, name), np.memmap) for name in ("observations", "actions", "rewards"))
    assert (mapped.fingerprint, mapped.episodes) == (plain.fingerprint, plain.episodes)
    made = {file: file.stat().st_mtime_ns for file in (tmp_path / "cache").rglob("*.npy")}
    assert catalog.load(path).fingerprint == plain.fingerprint
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "cache").rglob("*.npy")} == made


@pytest.mark.parametrize("left", [0, 100, -1])
def test_a_damaged_column_in_the_cache_is_made_again(write, tmp_path, monkeypatch, left):
    path = write(columns() | infos())
    plain = catalog.load(path)
    monkeypatch.setenv("GIPO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("GIPO_COLUMN_MEMORY", "100")
    catalog.load(path)
    for file in (tmp_path / "cache").rglob("*.npy"):
        file.write_bytes(file.read_bytes()[:left])
    assert catalog.load(path).fingerprint == plain.fingerprint


def test_an_unfinished_last_episode_is_cut(write):
    """hopper-random-v2 ends with four steps that lead nowhere."""
    found = {key: column[:34] for key, column in (columns() | infos(log_probs=UNIFORM)).items()}
    log = catalog.load(write(found))
    assert (log.episode_lengths.tolist(), bool(log.truncated[-1])) == ([10, 10, 10, 4], True)
    assert "the last episode is unfinished; it counts as cut by a limit." in log.notes


STORED_OTHERWISE = {
    "flags as floats": lambda key, c: c.astype("f4") if c.dtype == bool else c,
    "flags as 849.0": lambda key, c: c * 849.0 if c.dtype == bool else c,
    "flags as bytes": lambda key, c: c.astype("u1") if c.dtype == bool else c,
    "columns of one [N, 1]": lambda key, c: c[:, None] if c.ndim == 1 else c,
    "big-endian": lambda key, c: c.astype(c.dtype.newbyteorder(">")),
    "float64": lambda key, c: c.astype("f8") if c.dtype.kind == "f" else c,
}


@pytest.mark.parametrize("change", STORED_OTHERWISE.values(), ids=STORED_OTHERWISE)
def test_the_same_numbers_stored_otherwise_are_the_same_log(write, change):
    plain = columns() | infos()
    other = catalog.load(write({key: change(key, column) for key, column in plain.items()}, "other.hdf5"))
    assert other.fingerprint == catalog.load(write(plain)).fingerprint
    assert other.observations.dtype.isnative


def test_half_precision_reads_as_what_it_is(write):
    found = {k: c.astype("f2") if c.dtype.kind == "f" else c for k, c in (columns() | infos()).items()}
    log = catalog.load(write(found))
    assert log.observations.dtype == np.float16
    np.testing.assert_array_equal(log.behaviour_log_probs, found["infos/action_log_probs"])
    assert log.episodes == EPISODES


def test_a_gaussians_log_density_is_scipys_and_needs_no_single_precision():
    rng = np.random.default_rng(0)
    mean, log_std, actions = (rng.standard_normal((70_000, 3)).astype("f4") for _ in range(3))
    expected = norm.logpdf(actions.astype(float), mean.astype(float), np.exp(log_std.astype(float))).sum(-1)
    np.testing.assert_allclose(gaussian_log_probs(mean, log_std, actions), expected, rtol=1e-12)


def test_a_softmaxs_log_probs_do_not_overflow():
    logits = np.array([[1000.0, 0.0], [0.0, np.log(3.0)], [-1000.0, -1000.0]], "f4")
    expected = [0.0, np.log(0.75), np.log(0.5)]
    np.testing.assert_allclose(categorical_log_probs(logits, np.array([0, 1, 1])), expected, atol=1e-7)
