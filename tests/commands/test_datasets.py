"""Convert, split, merge and describe logs from the command line."""

import json
import signal

import h5py
import minari
import numpy as np
import pytest

from gipo_cli.data import catalog, saving
from gipo_cli.rendering import plots, terminal

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    return tmp_path


def done(outcome):
    assert outcome.exit_code == 0, outcome.stderr
    return json.loads(outcome.stdout)


def refused(outcome, code=2):
    assert outcome.exit_code == code
    assert outcome.stdout == ""
    return outcome.stderr


@pytest.mark.parametrize(("out", "named", "expected"), [
    ("log.hdf5", "", "d4rl"), ("log.H5", "", "d4rl"), ("log.data", "d4rl", "d4rl"),
])  # fmt: skip
def test_the_suffix_names_the_format_unless_one_is_given(gipo, cartpole_log, here, out, named, expected):
    summary = done(gipo("datasets", "convert", cartpole_log, out, "--json", *(("--format", named) if named else ())))
    assert summary["format"] == expected
    assert summary["fingerprint"] == catalog.load(str(cartpole_log)).fingerprint == catalog.load(out).fingerprint
    assert [path.name for path in here.iterdir()] == [out]


def test_what_a_file_says_of_its_making_goes_with_it(gipo, cartpole_log, here):
    done(gipo("datasets", "convert", cartpole_log, "log.hdf5", "--json"))
    with h5py.File(cartpole_log) as before, h5py.File("log.hdf5") as after:
        assert dict(before.attrs).items() <= dict(after.attrs).items()
        assert after.attrs["source"] == b"cartpole.hdf5"  # of fixed length: no heap is followed to read it


def test_a_log_without_log_probs_converts_too(gipo, cartpole_log, here):
    with h5py.File(cartpole_log) as source, h5py.File("bare.hdf5", "w") as bare:
        for name in source:
            source.copy(name, bare)
        bare.attrs.update(source.attrs)
        del bare["infos"]
    summary = done(gipo("datasets", "convert", "bare.hdf5", "log.hdf5", "--json"))
    assert summary["log_probs"] == "none"
    with h5py.File("log.hdf5") as file:
        assert "infos" not in file


def test_a_format_that_is_none_is_refused_before_anything_is_read(gipo, here):
    assert refused(gipo("datasets", "convert", "nothing", "log.csv")) == (
        "gipo: log.csv: '.csv' names no format that can be written.\n"
        "      Known: .hdf5 (d4rl), .h5 (d4rl), .npz (npz), .parquet (parquet); a directory or minari:ID (minari). "
        "Or say which: --format NAME.\n"
    )
    assert "Did you mean 'npz'" in refused(gipo("datasets", "convert", "nothing", "log", "--format", "npy"))
    assert "is no name that Minari takes" in refused(gipo("datasets", "convert", "nothing", "minari:../own-v0"))
    assert "cannot be written as npz" in refused(
        gipo("datasets", "convert", "nothing", "minari:own-v0", "--format", "npz")
    )
    (here / "log.npz").write_text("mine")
    assert "log.npz exists; a log is never overwritten" in refused(gipo("datasets", "convert", "nothing", "log.npz"))


def test_a_copy_that_reads_as_another_log_is_our_bug_and_is_not_kept(cartpole_log, here, monkeypatch):
    from dataclasses import replace

    log = catalog.load(str(cartpole_log))
    destination = saving.Destination("log.hdf5")
    write = destination.write
    monkeypatch.setattr(destination, "write", lambda log, *rest: write(replace(log, rewards=log.rewards + 1), *rest))
    with pytest.raises(RuntimeError, match="written as d4rl reads as another log"):
        destination.save(log, {})
    assert list(here.iterdir()) == []


def test_a_place_with_the_name_of_a_bundled_log_is_read_back_itself(cartpole_log, here):
    destination = saving.Destination("hopper-medium", "d4rl")
    destination.save(catalog.load(str(cartpole_log)), {})
    assert (here / "hopper-medium").is_file()


@pytest.mark.filterwarnings("ignore::UserWarning:minari")
def test_a_minari_name_lands_where_minari_looks(cartpole_log, here, monkeypatch):
    monkeypatch.setattr(saving.Destination, "_verify", lambda self, log: None)  # the reader's part
    log = catalog.load(str(cartpole_log))
    saving.Destination("minari:lab/cart-v1").save(log, {})
    dataset = minari.load_dataset("lab/cart-v1")
    assert (dataset.total_steps, dataset.spec.env_spec.id) == (log.transitions, "CartPole-v1")
    saving.Destination("minari:lab/other-v1").save(log, {})
    deep = saving.Destination("minari:lab/deep/cart-v1")
    deep.save(log, {})
    deep.remove()
    assert sorted(path.name for path in (here / "minari/lab").iterdir()) == ["cart-v1", "other-v1"]


@pytest.mark.parametrize("out", ["log.hdf5", "log.npz", "cart"])
def test_an_interrupt_before_a_copy_was_read_back_leaves_nothing(cartpole_log, here, monkeypatch, out):
    destination = saving.Destination(out)
    write = destination.write

    def interrupted(*given):
        write(*given)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(destination, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        destination.save(catalog.load(str(cartpole_log)), {})
    assert list(here.iterdir()) == []


def test_a_repair_that_was_not_needed_is_told_before_the_copy_is_used(gipo, cartpole_log, here):
    outcome = gipo("datasets", "convert", cartpole_log, "log.npz", "--repair", "base10", "--quiet")
    assert outcome.exit_code == 0
    assert "after --repair base10: the log-probs are not those of the policy that the log carries" in outcome.stderr


def test_a_suffix_and_a_format_that_contradict_each_other_are_refused(gipo, cartpole_log, here):
    refused = gipo("datasets", "convert", cartpole_log, "log.npz", "--format", "parquet")
    assert refused.exit_code == 2
    assert "log.npz is the name of a npz file; it cannot be written as parquet." in refused.stderr


def test_namespaces_of_a_failed_write_are_taken_away(cartpole_log, here, monkeypatch):
    destination = saving.Destination("minari:lab/deep/cart-v1")

    def fail(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(destination, "write", fail)
    with pytest.raises(KeyboardInterrupt):
        destination.save(catalog.load(str(cartpole_log)), {})
    assert list(here.iterdir()) == []


def test_a_split_has_every_episode_once_and_merges_again(gipo, cartpole_log, here):
    whole = catalog.load(str(cartpole_log))
    split = done(gipo("datasets", "split", cartpole_log, "--fraction", 0.75, "--seed", 3, "--out", "a.hdf5",
                      "--rest", "b.hdf5", "--json"))["parts"]  # fmt: skip
    assert [part["episodes"] for part in split] == [round(0.75 * whole.episodes), round(0.25 * whole.episodes)]
    assert sum(part["transitions"] for part in split) == whole.transitions
    merged = done(gipo("datasets", "merge", "a.hdf5", "b.hdf5", "--out", "c.hdf5", "--versions", "number", "--json"))
    assert (merged["transitions"], merged["behaviour_weights"], merged["notes"]) == (whole.transitions, True, [])
    log = catalog.load("c.hdf5")
    assert sorted(log.episode_returns) == sorted(whole.episode_returns)
    assert np.bincount(log.policy_versions).tolist() == [part["transitions"] for part in split]


def test_a_split_shows_a_value_a_line(gipo, cartpole_log, here):
    lines = gipo("datasets", "split", cartpole_log, "--out", "a.hdf5", "--rest", "b.hdf5").stdout.splitlines()
    shown = [line.split(maxsplit=1) for line in lines]
    assert [pair for pair in shown if pair[0] in ("share", "rest")] == [["share", "a.hdf5"], ["rest", "b.hdf5"]]
    assert [value for name, value in shown if name == "fingerprint"] == [
        catalog.load(name).fingerprint for name in ("a.hdf5", "b.hdf5")
    ]


def test_the_catalog_has_a_line_a_log_in_a_narrow_terminal(gipo, monkeypatch):
    monkeypatch.setattr(terminal, "is_terminal", lambda stream=None: True)
    monkeypatch.setenv("COLUMNS", "60")
    lines = [line.split() for line in gipo("datasets", "list").stdout.splitlines()]
    assert {name for line in lines for name in line[:1]} >= set(catalog.ENTRIES)


def test_half_a_split_is_not_kept(gipo, cartpole_log, here, monkeypatch):
    save = saving.Destination.save

    def fail(self, log, origin):
        if self.path.name == "b.hdf5":
            raise KeyboardInterrupt
        save(self, log, origin)

    monkeypatch.setattr(saving.Destination, "save", fail)
    assert gipo("datasets", "split", cartpole_log, "--out", "a.hdf5", "--rest", "b.hdf5").exit_code == 130
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("fraction", [0, 1, -1, "nan", 1.5])
def test_a_fraction_that_is_none_is_refused(gipo, cartpole_log, here, fraction):
    said = refused(gipo("datasets", "split", cartpole_log, "--fraction", fraction, "--out", "a.h5", "--rest", "b.h5"))
    assert "expected a number between 0 and 1" in said


def test_two_parts_in_one_place_are_refused(gipo, cartpole_log, here):
    said = refused(gipo("datasets", "split", cartpole_log, "--out", "a.h5", "--rest", here / "a.h5"))
    assert said == "gipo: --out and --rest are both a.h5; expected two places.\n"


def test_logs_of_two_environments_do_not_merge(gipo, cartpole_log, here):
    said = refused(gipo("datasets", "merge", "hopper-medium", cartpole_log, "--out", "c.hdf5"), code=3)
    assert said == (
        "gipo: hopper-medium has observations of shape [11], cartpole [4]; logs of one kind can be merged.\n"
    )
    assert "there is one log to merge" in refused(gipo("datasets", "merge", cartpole_log, "--out", "c.hdf5"))
    assert list(here.iterdir()) == []


def test_info_has_quantiles_versions_and_origin(gipo, cartpole_log, here):
    gipo("datasets", "merge", cartpole_log, cartpole_log, "--out", "c.hdf5", "--versions", "number")
    document, log = done(gipo("datasets", "info", "c.hdf5", "--json")), catalog.load("c.hdf5")
    assert document["returns"]["q50"] == np.median(log.episode_returns)
    assert document["lengths"]["q95"] == np.quantile(log.episode_lengths, 0.95)
    assert document["log_probs"]["min"] == log.behaviour_log_probs.min()
    assert document["log_probs"]["origin"] == "recorded"
    assert document["policy_versions"] == {"count": 2, "min": 0, "max": 1}
    assert document["repairs"] == []


def test_whole_numbers_that_a_file_says_are_whole(gipo, cartpole_log, here):
    with h5py.File(cartpole_log) as source, h5py.File("log.hdf5", "w") as file:
        for name in source:
            source.copy(name, file)
        file.attrs.update({**source.attrs, "seed": 2**53 + 1, "rate": 1.0, "done": np.True_})
    told = done(gipo("datasets", "info", "log.hdf5", "--json"))["attributes"]
    shown = [told[name] for name in ("seed", "rate", "done", "environments")]
    assert repr(shown) == "[9007199254740993, 1.0, True, 4]"


def test_info_shows_a_log_without_log_probs(gipo, d4rl_without_log_probs, here):
    outcome = gipo("datasets", "info", d4rl_without_log_probs, "--plot", "log.png", "--json")
    document = done(outcome)
    assert document["log_probs"] == {"origin": "none", "convention": "tanh_gaussian"}
    assert document["notes"][0].startswith("no log-probs: its infos hold")
    assert (here / "log.png").read_bytes().startswith(PNG)


@pytest.fixture
def d4rl_without_log_probs(here):
    with h5py.File("bare.hdf5", "w") as file:
        for name in ("observations", "actions", "next_observations"):
            file[name] = np.zeros((6, 2), np.float32)
        file["rewards"] = np.array([0, 0, np.nan, 0, 0, 0], np.float32)  # which no check has seen
        file["terminals"], file["infos/qpos"] = np.arange(6) % 3 == 2, np.zeros(6)
    return "bare.hdf5"


def test_info_counts_numbers_that_are_not_finite(gipo, d4rl_without_log_probs):
    assert done(gipo("datasets", "info", d4rl_without_log_probs, "--json"))["returns"] == {"not_finite": 1}


def test_a_picture_is_drawn_and_never_drawn_over(gipo, cartpole_log, here):
    assert gipo("datasets", "info", cartpole_log, "--plot", "log.png").stderr == "wrote log.png\n"
    assert (here / "log.png").read_bytes().startswith(PNG)
    assert refused(gipo("datasets", "info", cartpole_log, "--plot", "log.png")) == (
        "gipo: log.png exists.\n      Add --force to replace it, or name another file.\n"
    )
    assert gipo("datasets", "info", cartpole_log, "--plot", "log.png", "--force").exit_code == 0
    assert "writes PNG pictures" in refused(gipo("datasets", "info", cartpole_log, "--plot", "log.pdf"))
    for place in ("", ".", here):
        assert "is a directory.\n      Name a file for --plot." in refused(
            gipo("datasets", "info", cartpole_log, "--plot", place)
        )


def test_episodes_are_counted_in_whole_numbers():
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    plots._counts(axes, np.arange(3.0), "return")  # one each
    assert all(tick == round(tick) for tick in axes.get_yticks())


@pytest.mark.parametrize(
    ("log_probs", "versions"),
    [
        (np.full(6, -0.5), None),
        (np.full(6, -0.5), np.arange(6)),
        (np.arange(-6.0, 0), np.zeros(6, int)),
        (-np.ones((6, 2)), np.array([0, 0, 0, 9, 9, 9])),
    ],
)
def test_small_and_constant_logs_have_a_picture(log_probs, versions):
    from gipo_cli.data.trajectories import ActionSpace, Trajectories

    ends = np.arange(6) % 3 == 2
    log = Trajectories(
        "$a_{b", "", np.zeros((6, 1)), np.zeros((6, 2)), np.zeros(6), log_probs, ends, ends & False, np.zeros((2, 1)),
        np.array([0, 3, 6]), ActionSpace((2,)), "gaussian", policy_versions=versions,
    )  # fmt: skip
    assert plots.log_picture(log).startswith(PNG)
