"""Every format there and back: the same fingerprint, whatever a log holds."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gipo_cli.data import catalog
from gipo_cli.data.trajectories import ActionSpace, BehaviourWeights, Trajectories
from gipo_cli.registry import WRITERS

SUFFIXES = {"d4rl": ".hdf5", "minari": "", "npz": ".npz", "parquet": ".parquet"}
KINDS = st.sampled_from(["<f4", "<f8", ">f4"])
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)


@st.composite
def logs(draw):
    """Small logs of every convention, with and without each optional column."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    lengths = draw(st.lists(st.integers(1, 5), min_size=1, max_size=5))
    steps, size = sum(lengths), draw(st.integers(1, 3))
    observed = draw(st.sampled_from([(), (1,), (3,), (2, 2)]))
    convention = draw(st.sampled_from(["gaussian", "tanh_gaussian", "categorical", "multi_categorical"]))
    origin = draw(st.sampled_from(["recorded", "recomputed", "estimated", "none"]))

    def numbers(*shape):
        return rng.standard_normal(shape).astype(draw(KINDS))

    def perhaps(make):
        return make() if draw(st.booleans()) else None

    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    ends = np.zeros(steps, bool)
    ends[starts[1:] - 1] = True
    terminated = ends & (rng.random(steps) < 0.5)
    discrete = convention.endswith("categorical")
    if convention == "categorical":
        space, actions = ActionSpace((), n=size + 1), rng.integers(0, size + 1, steps)
    elif discrete:
        nvec = rng.integers(1, 300, size)
        space, actions = ActionSpace((size,), nvec=tuple(nvec.tolist())), rng.integers(0, nvec, (steps, size))
    else:
        low, high = perhaps(lambda: -np.full(size, np.inf, np.float32)), perhaps(lambda: abs(numbers(size)))
        space, actions = ActionSpace((size,), low, high), np.tanh(numbers(steps, size))
    log_probs = np.full(steps, np.nan, np.float32) if origin == "none" else -abs(numbers(steps))
    return Trajectories(
        name="log", source="test",
        observations=numbers(steps, *observed), actions=actions, rewards=numbers(steps),
        behaviour_log_probs=log_probs, terminated=terminated, truncated=ends & ~terminated,
        final_observations=numbers(len(lengths), *observed), episode_starts=starts,
        action_space=space, convention=convention, environment=draw(st.sampled_from([None, "Hopper-v5", "Lab/Own-v0"])),
        pre_squash_actions=perhaps(lambda: numbers(steps, size)) if convention == "tanh_gaussian" else None,
        executed_actions=None if discrete else perhaps(lambda: numbers(steps, size)),
        policy_versions=perhaps(lambda: rng.integers(0, 9, steps).astype(draw(st.sampled_from(["i8", "i4", "u1"])))),
        behaviour_weights=perhaps(lambda: weights(draw, numbers, int(np.prod(observed)), space, convention)),
        log_probs_origin=origin, repairs=draw(st.sampled_from([(), ("shift", "base10")])),
    )  # fmt: skip


def weights(draw, numbers, observed, space, convention):
    acted = space.size
    arrays = {"fc0/weight": numbers(4, observed), "fc0/bias": numbers(4), "last_fc/weight": numbers(acted, 4),
              "last_fc/bias": numbers(acted)}  # fmt: skip
    if not convention.endswith("categorical"):
        if draw(st.booleans()):
            arrays["log_std"] = numbers(acted)
        else:
            arrays |= {"last_fc_log_std/weight": numbers(acted, 4), "last_fc_log_std/bias": numbers(acted)}
    if draw(st.booleans()):
        arrays |= {"observation_mean": numbers(observed), "observation_variance": abs(numbers(observed))}
    return BehaviourWeights(
        arrays, draw(st.sampled_from(["relu", "tanh"])), convention,
        observation_clip=draw(st.sampled_from([None, 5.0, 0.1])),
        observation_epsilon=draw(st.sampled_from([0.0, 1e-8])),
        log_std_bounds=draw(st.sampled_from([None, (-20.0, 2.0), (-5.0, 0.1)])),
        choices=space.nvec or (),
    )  # fmt: skip


@pytest.mark.parametrize("name", WRITERS.places)
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(log=logs())
def test_a_log_comes_back_as_it_was(tmp_path_factory, name, log):
    path = tmp_path_factory.mktemp("there") / f"log{SUFFIXES[name]}"
    WRITERS.load(name)(log, path, {"seed": 1, "note": "ünï"})
    back = catalog.load(str(path))
    assert back.fingerprint == log.fingerprint
    assert back.repairs == log.repairs
    assert back.transitions == log.transitions


@pytest.mark.parametrize("name", WRITERS.places)
def test_a_log_of_many_blocks_comes_back_as_it_was(tmp_path, name, monkeypatch):
    import importlib

    module = importlib.import_module(WRITERS.places[name].partition(":")[0])
    if hasattr(module, "BLOCK"):
        monkeypatch.setattr(module, "BLOCK", 7)
    log = catalog.load("hopper-medium")
    rows = slice(0, int(log.episode_starts[3]))
    part = replace(
        log, episode_starts=log.episode_starts[:4], final_observations=log.final_observations[:3],
        **{column: getattr(log, column)[rows] for column in (
            "observations", "actions", "rewards", "behaviour_log_probs", "terminated", "truncated",
            "pre_squash_actions",
        )},
    )  # fmt: skip
    WRITERS.load(name)(part, tmp_path / f"log{SUFFIXES[name]}", None)
    assert catalog.load(str(tmp_path / f"log{SUFFIXES[name]}")).fingerprint == part.fingerprint


def plain(observations, **replaced):
    steps, rng = 6, np.random.default_rng(0)
    ends = np.arange(steps) % 3 == 2
    log = Trajectories(
        name="log", source="test", observations=observations[:steps], actions=rng.random((steps, 2)),
        rewards=rng.random(steps), behaviour_log_probs=-rng.random(steps), terminated=ends, truncated=ends & False,
        final_observations=observations[steps:], episode_starts=np.array([0, 3, 6]), action_space=ActionSpace((2,)),
        convention="gaussian",
    )  # fmt: skip
    return replace(log, **replaced)


DRAWN = np.random.default_rng(1).integers(0, 256, (8, 32, 32, 3), np.uint8)
ODD = {
    "images": plain(DRAWN),
    "whole numbers": plain(DRAWN[:, 0, 0].astype(np.int64)),
    "flags": plain(DRAWN[:, 0, 0] > 128),
    "half precision": plain(DRAWN[:, 0, 0].astype(np.float16)),
    "not finite": plain(np.full((8, 2), -np.inf)),
    "small choices": plain(
        DRAWN[:, 0, 0], actions=np.arange(6, dtype=np.uint8), action_space=ActionSpace((), n=9),
        convention="categorical",
    ),
    "a matrix of actions": plain(DRAWN[:, 0, 0], actions=np.ones((6, 2, 2)), action_space=ActionSpace((2, 2))),
    "a matrix of actions within bounds": plain(
        DRAWN[:, 0, 0], actions=np.ones((6, 2, 2)), action_space=ActionSpace((2, 2), -np.ones((2, 2)), np.ones((2, 2)))
    ),
    "log-probs per dimension": plain(DRAWN[:, 0, 0], behaviour_log_probs=-np.ones((6, 2))),
    "versions with a fraction": plain(DRAWN[:, 0, 0], policy_versions=np.arange(6) / 2),
    "bounds of another precision": plain(
        DRAWN[:, 0, 0], actions=np.ones((6, 2), np.float32),
        action_space=ActionSpace((2,), np.full(2, -0.3), np.full(2, 0.1, np.float32)),
    ),
    "bounds of whole numbers": plain(
        DRAWN[:, 0, 0], actions=np.ones((6, 2), np.float32),
        action_space=ActionSpace((2,), np.array([-1, -2]), np.array([1, 2])),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRITERS.places)
@pytest.mark.parametrize("log", ODD.values(), ids=ODD)
def test_odd_columns_come_back_as_they_were(tmp_path, name, log):
    WRITERS.load(name)(log, tmp_path / f"log{SUFFIXES[name]}", None)
    assert catalog.load(str(tmp_path / f"log{SUFFIXES[name]}")).fingerprint == log.fingerprint
