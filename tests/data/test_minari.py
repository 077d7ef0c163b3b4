"""Minari 0.5 datasets, written by Minari itself."""

import json

import gymnasium
import minari
import numpy as np
import pytest
from minari.data_collector.episode_buffer import EpisodeBuffer

from gipo_cli.data import catalog
from gipo_cli.errors import DataError, SettingError
from gipo_cli.logs import open_log

STEPS = 6


@pytest.fixture
def dataset(tmp_path, monkeypatch):
    """Write a dataset of 12 episodes; `log_prob(values [T])` shapes what infos hold of them."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))

    def write(infos, identifier="lab/log-v0", discrete=False):
        rng = np.random.default_rng(0)
        buffers = []
        for k in range(12):
            ends = np.arange(STEPS) == STEPS - 1
            buffers.append(
                EpisodeBuffer(
                    id=k,
                    observations=rng.standard_normal((STEPS + 1, 3)).astype(np.float32),
                    actions=rng.integers(0, 2, STEPS) if discrete else rng.uniform(-2, 2, (STEPS, 1)).astype("f4"),
                    rewards=np.full(STEPS, float(k)),
                    terminations=ends & (k % 2 == 0),
                    truncations=ends & (k % 2 == 1),
                    infos=infos(-1.0 - np.arange(STEPS) - 10 * k),
                )
            )
        box = gymnasium.spaces.Box(-2, 2, (1,), np.float32)
        minari.create_dataset_from_buffers(
            identifier, buffers, observation_space=gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float32),
            action_space=gymnasium.spaces.Discrete(2) if discrete else box, algorithm_name="x", author="x",
            author_email="x@x", code_permalink="x", description="x",
        )  # fmt: skip
        return tmp_path / identifier

    return write


pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:minari")

SHAPES = {
    "T": lambda v: {"log_prob": v},
    "T, 1": lambda v: {"log_prob": v[:, None]},
    "T + 1, nan first": lambda v: {"log_prob": np.concatenate([[np.nan], v])},
    "T + 1, nan last": lambda v: {"log_prob": np.concatenate([v, [np.nan]])},
    "T + 1, 1": lambda v: {"log_prob": np.concatenate([[np.nan], v])[:, None]},
    "nested": lambda v: {"behaviour": {"log_prob": v}},
}


@pytest.mark.parametrize("infos", SHAPES.values(), ids=SHAPES)
def test_log_probs_of_any_shape_stand_beside_their_actions(dataset, infos):
    dataset(infos)
    log = catalog.load("minari:lab/log-v0")
    expected = np.concatenate([-1.0 - np.arange(STEPS) - 10 * k for k in range(12)])
    np.testing.assert_array_equal(log.behaviour_log_probs, expected)
    # Episode 10 comes after episode 9, not after episode 1.
    np.testing.assert_array_equal(log.rewards[log.episode_starts[:-1]], np.arange(12))
    assert log.terminated.sum() == log.truncated.sum() == 6
    assert log.action_space.low.tolist() == [-2]
    assert log.convention == "gaussian"


def test_a_row_more_than_steps_without_a_placeholder_is_taken_for_the_collectors_and_noted(dataset):
    dataset(lambda v: {"log_prob": np.concatenate([[0.0], v])})
    log = catalog.load("minari:lab/log-v0")
    assert log.behaviour_log_probs[0] == -1.0
    assert "row 0 is taken for the reset" in " ".join(log.notes)


def test_choices_are_read_with_their_space(dataset):
    place = dataset(lambda v: {"log_prob": np.full(STEPS, np.log(0.5))}, discrete=True)
    log = catalog.load(str(place))
    assert (log.convention, log.action_space.n) == ("categorical", 2)


@pytest.mark.parametrize("infos", [lambda v: None, lambda v: {}, lambda v: {"speed": v}])
def test_without_log_probs_it_is_refused(dataset, infos):
    dataset(infos)
    with pytest.raises(DataError, match="no log-probabilities of the behaviour policy"):
        open_log("minari:lab/log-v0")


def test_nothing_that_metadata_names_is_run(dataset, tmp_path):
    place = dataset(SHAPES["T"])
    path = place / "data/metadata.json"
    metadata = json.loads(path.read_text())
    metadata["env_spec"] = json.dumps(
        {"id": "Hopper-v5", "entry_point": "subprocess:check_call", "kwargs": {"args": ["touch", f"{tmp_path}/ran"]}}
    )
    del metadata["action_space"], metadata["observation_space"]
    path.write_text(json.dumps(metadata))
    assert catalog.load("minari:lab/log-v0").environment == "Hopper-v5"
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("identifier", ["../../etc-v0", "/etc/passwd-v0", "lab/../../x-v0", "lab"])
def test_a_name_never_leaves_the_root(dataset, identifier):
    with pytest.raises(SettingError, match="is not the name of a Minari dataset"):
        catalog.load(f"minari:{identifier}")


def test_a_dataset_that_is_not_here_is_named_with_those_that_are(dataset):
    dataset(SHAPES["T"])
    with pytest.raises(DataError, match="there is no Minari dataset lab/other-v0") as refused:
        catalog.load("minari:lab/other-v0")
    assert "There: lab/log-v0." in refused.value.hint


@pytest.mark.parametrize("text", ["{", "[]", "\x00"])
def test_damaged_metadata_is_refused(dataset, text):
    (dataset(SHAPES["T"]) / "data/metadata.json").write_text(text)
    with pytest.raises(DataError, match=r"metadata.json is damaged"):
        catalog.load("minari:lab/log-v0")
