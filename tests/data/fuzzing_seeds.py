"""Whole files of every format, small, from which `fuzzing.py` makes damaged ones."""

import csv
import io
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq

from gipo_cli.data.options import LogOptions
from gipo_cli.data.trajectories import ActionSpace, BehaviourWeights, Trajectories
from gipo_cli.policies.recompute import recompute
from gipo_cli.policies.weights import policy_from_weights
from gipo_cli.registry import WRITERS

FILES = Path(__file__).with_name("files")
LENGTHS = (4, 3, 5)
N = sum(LENGTHS)
LAST = np.cumsum(LENGTHS) - 1
MAPPING = """[columns]
observations = ["x", "y"]
actions = "push"
rewards = "reward"
log_probs = "logp"
terminated = "done"
episode = "episode"
step = "t"

[log]
environment = "Pendulum-v1"
convention = "gaussian"
action_low = [-2.0]
action_high = [2.0]
"""


@dataclass(frozen=True)
class Seed:
    """A place that can be read, and how: by `open_log` with these options, or as a policy."""

    format: str
    entry: str  # below its directory; "" is the directory itself
    options: LogOptions = field(default_factory=LogOptions)  # files named here stand in the directory too
    loader: str = "log"  # log, policy, stable-baselines3
    structure: bool = False  # a dataset of several files, one of which may be missing or a link


def trajectories(convention: str = "gaussian", weights: bool = True) -> Trajectories:
    """Three episodes with all that a log can have."""
    rng = np.random.default_rng(0)
    discrete = convention == "categorical"
    acted = 3 if discrete else 1
    ends = np.isin(np.arange(N), LAST)
    u = rng.standard_normal((N, 1)).astype("f4")
    actions = rng.integers(0, 3, N) if discrete else np.tanh(u) if convention == "tanh_gaussian" else u
    arrays = {"fc0/weight": rng.random((4, 2)), "fc0/bias": rng.random(4), "last_fc/weight": rng.random((acted, 4)),
              "last_fc/bias": rng.random(acted)} | ({} if discrete else {"log_std": np.zeros(acted)})  # fmt: skip
    policy = BehaviourWeights(
        {k: a.astype("f4") for k, a in arrays.items()}, "tanh", convention, 5.0, 1e-6, (-5.0, 2.0)
    )
    space = ActionSpace((), n=3) if discrete else ActionSpace((1,), -np.ones(1, "f4"), np.ones(1, "f4"))
    log = Trajectories(
        name="log", source="nowhere", observations=rng.standard_normal((N, 2)).astype("f4"), actions=actions,
        rewards=rng.standard_normal(N).astype("f4"), behaviour_log_probs=-1 - rng.random(N).astype("f4"),
        terminated=ends & (np.arange(N) < 7), truncated=ends & (np.arange(N) >= 7),
        final_observations=rng.standard_normal((len(LENGTHS), 2)).astype("f4"),
        episode_starts=np.concatenate([[0], LAST + 1]), action_space=space, convention=convention,
        environment="Pendulum-v1", policy_versions=None if weights else np.arange(N) // 4,
        pre_squash_actions=u if convention == "tanh_gaussian" else None,
        behaviour_weights=policy if weights else None,
    )  # fmt: skip
    return replace(recompute(log, policy_from_weights(policy, "the seed")), log_probs_origin="recorded")


def d4rl_by_hand(path: Path, texts: bool, **kind) -> None:
    """What D4RL's own scripts write: plain h5py, next observations, and words of variable length."""
    log = trajectories("tanh_gaussian")
    with h5py.File(path, "w", **kind) as file:
        file["observations"], file["actions"], file["rewards"] = log.observations, log.actions, log.rewards
        file["next_observations"] = log.next_observations()
        file["terminals"], file["timeouts"] = log.terminated, log.truncated
        file["infos/action_log_probs"] = log.behaviour_log_probs
        file.create_dataset("infos/qpos", data=np.zeros((N, 3)), chunks=(5, 3), compression="gzip", shuffle=True)
        for name, array in log.behaviour_weights.arrays.items():
            file[f"metadata/policy/{name}"] = array
        file["metadata/policy/nonlinearity"] = "tanh" if texts else np.bytes_("tanh")
        file["metadata/policy/output_distribution"] = "tanh_gaussian" if texts else np.bytes_("tanh_gaussian")
        file.attrs["env_id"] = "Hopper-v5" if texts else np.bytes_("Hopper-v5")


def d4rl_adroit(path: Path) -> None:
    """Adroit's: means and log standard deviations in place of log-probs, flags of floats."""
    log = trajectories(weights=False)
    with h5py.File(path, "w") as file:
        file["observations"], file["actions"], file["rewards"] = log.observations, log.actions, log.rewards
        file["terminals"] = log.terminated.astype("f4")[:, None]
        file["timeouts"] = log.truncated * 849.0
        file["infos/action_mean"], file["infos/action_log_std"] = log.actions * 0.9, np.full((N, 1), -0.5, "f4")


def robomimic(path: Path) -> None:
    """Demonstrations, a group each."""
    rng = np.random.default_rng(1)
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["total"], data.attrs["env_args"] = 9, json.dumps({"env_name": "Lift", "env_type": 1})
        for k, steps in enumerate((4, 2, 3)):
            demo = data.create_group(f"demo_{k}")
            demo.attrs["num_samples"] = steps
            for key, width in (("eef", 2), ("object", 3)):
                rows = rng.standard_normal((steps + 1, width))
                demo[f"obs/{key}"], demo[f"next_obs/{key}"] = rows[:-1], rows[1:]
            demo["actions"], demo["rewards"] = rng.uniform(-0.9, 0.9, (steps, 2)), np.arange(float(steps))
            demo["dones"], demo["action_log_probs"] = np.arange(steps) == steps - 1, -1 - rng.random(steps)


def lerobot(place: Path, version: str) -> None:
    """Two files of a version of LeRobot's layout."""
    log = trajectories(weights=False)

    def vectors(values: np.ndarray) -> pa.Array:
        if version == "v3.0":
            return pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), values.shape[1])
        return pa.array(list(values), pa.list_(pa.float32()))

    table = pa.table({
        "observation.state": vectors(log.observations), "observation.effort": vectors(log.observations * 2),
        "observation.image": pa.array([{"bytes": b"PNG", "path": "x.png"}] * N), "action": vectors(log.actions),
        "action_log_prob": log.behaviour_log_probs, "next.reward": log.rewards,
        "next.done": log.terminated | log.truncated, "next.truncated": log.truncated,
        "frame_index": np.concatenate([np.arange(steps) for steps in LENGTHS]),
        "episode_index": np.repeat(np.arange(len(LENGTHS)), LENGTHS),
    })  # fmt: skip
    (place / "data/chunk-000").mkdir(parents=True)
    (place / "meta").mkdir()
    features = {name: {"dtype": "float32", "shape": [1], "names": None} for name in table.column_names}
    described = {"codebase_version": version, "total_frames": N, "fps": 10, "features": features}
    (place / "meta/info.json").write_text(json.dumps(described))
    name = "file-{:03d}.parquet" if version == "v3.0" else "episode_{:06d}.parquet"
    pq.write_table(table.slice(0, 7), place / "data/chunk-000" / name.format(0))
    pq.write_table(table.slice(7), place / "data/chunk-000" / name.format(1))


def minari_sets(root: Path) -> None:
    """Minari's three storage formats, by Minari, below root/lab/FORMAT-v0."""
    import warnings

    import gymnasium
    import minari
    from minari.data_collector.episode_buffer import EpisodeBuffer

    os.environ["MINARI_DATASETS_PATH"] = str(root)
    rng = np.random.default_rng(2)
    spaces = gymnasium.spaces
    observed = spaces.Dict({"arm": spaces.Box(-1, 1, (2,), np.float32), "goal": spaces.Box(-1, 1, (1,), np.float32)})
    plain = spaces.Box(-1, 1, (3,), np.float32)
    for stored_as in ("hdf5", "arrow", "parquet"):
        buffers = []
        for k, steps in enumerate(LENGTHS):
            ends, rows = np.arange(steps) == steps - 1, rng.uniform(-1, 1, (steps + 1, 3)).astype("f4")
            nested = {"arm": rows[:, :2], "goal": rows[:, 2:]}
            buffers.append(EpisodeBuffer(
                id=k, observations=rows if stored_as == "hdf5" else nested,
                actions=rng.uniform(-2, 2, (steps, 1)).astype("f4"), rewards=np.arange(float(steps)),
                terminations=ends & (k < 2), truncations=ends & (k >= 2),
                infos={"behaviour": {"log_prob": np.concatenate([[np.nan], -1 - rng.random(steps)])}},
            ))  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            minari.create_dataset_from_buffers(
                f"lab/{stored_as}-v0", buffers, data_format=stored_as, algorithm_name="x", author="x",
                observation_space=plain if stored_as == "hdf5" else observed, author_email="x@x", code_permalink="x",
                action_space=spaces.Box(-2, 2, (1,), np.float32), description="x",
            )  # fmt: skip


def table_of_words(text: str = "") -> str:
    """A CSV whose columns need a mapping."""
    log, file = trajectories(weights=False), io.StringIO(text)
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["episode", "t", "x", "y", "push", "reward", "logp", "done"])
    for k, steps in enumerate(LENGTHS):
        for t in range(steps):
            i = LAST[k] + 1 - steps + t
            row = (*log.observations[i], log.actions[i, 0], log.rewards[i], log.behaviour_log_probs[i])
            writer.writerow([f"ep{k}", t, *(f"{value:.5g}" for value in row), int(log.terminated[i])])
    return file.getvalue()


def bandit(path: Path) -> None:
    """The Open Bandit Dataset's columns."""
    rng = np.random.default_rng(3)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["", "timestamp", "item_id", "position", "click", "propensity_score", "user_feature_0",
                         "user-item_affinity_0", "user-item_affinity_1"])  # fmt: skip
        for i in range(N):
            writer.writerow([i, f"2019-11-24 00:00:{i:02}.004101+00:00", i % 2, i % 3 + 1, int(i % 5 == 0), 0.25,
                             ["81ce123c", "2d03db55"][i % 2], *rng.random(2).round(3)])  # fmt: skip


def policy_file(path: Path, convention: str = "gaussian") -> None:
    """A policy as `train` and `record` leave it."""
    from gipo_cli.policies.weights import save_policy

    save_policy(policy_from_weights(trajectories(convention).behaviour_weights, "the seed"), path)


def sb3_model(path: Path) -> None:
    """A PPO of Stable-Baselines3, as `model.save` writes it."""
    import warnings

    warnings.simplefilter("ignore")
    from stable_baselines3 import PPO

    PPO("MlpPolicy", "CartPole-v1", n_steps=8, batch_size=8, policy_kwargs={"net_arch": [4]}, device="cpu").save(path)


def build(root: Path) -> None:
    """Make all seeds below a directory, each in one of its own."""

    def at(name: str, make: Callable[[Path], object], entry: str) -> None:
        (root / name).mkdir(parents=True)
        make(root / name / entry)

    for name in WRITERS.places:
        if name != "minari":
            suffix = {"d4rl": "hdf5"}.get(name, name)
            for convention in ("gaussian", "categorical"):
                log = trajectories(convention)
                at(f"{name}-{convention}", lambda path, n=name, o=log: WRITERS.load(n)(o, path, None), f"log.{suffix}")
    at("minari-gipo", lambda path: WRITERS.load("minari")(trajectories("tanh_gaussian"), path, None), "log")
    at("d4rl-v2", lambda path: d4rl_by_hand(path, False), "log.hdf5")
    at("d4rl-v2-words", lambda path: d4rl_by_hand(path, True), "log.hdf5")
    at("d4rl-latest", lambda path: d4rl_by_hand(path, False, libver="latest"), "log.hdf5")
    at("d4rl-adroit", d4rl_adroit, "log.hdf5")
    at("robomimic", robomimic, "low_dim.hdf5")
    at("lerobot-v3", lambda place: lerobot(place, "v3.0"), "set")
    at("lerobot-v2", lambda place: lerobot(place, "v2.1"), "set")
    minari_sets(root / "minari-root")
    for stored_as in ("hdf5", "arrow", "parquet"):
        (root / f"minari-{stored_as}").mkdir()
        (root / "minari-root/lab" / f"{stored_as}-v0").rename(root / f"minari-{stored_as}" / "log")
    at("open-bandit", bandit, "all.csv")
    at("csv", lambda path: path.write_text(table_of_words()), "log.csv")
    (root / "csv/map.toml").write_text(MAPPING)
    log = trajectories(weights=False)
    plain = {"observations": list(log.observations), "actions": list(log.actions), "rewards": log.rewards,
             "log_probs": log.behaviour_log_probs, "terminated": log.terminated, "truncated": log.truncated,
             "episode": np.repeat(["a", "b", "c"], LENGTHS)}  # fmt: skip
    at("arrow", lambda path: feather.write_feather(pa.table(plain), str(path), compression="uncompressed"), "log.arrow")
    at("npz-packed", lambda path: np.savez_compressed(path, **{k: np.asarray(v) for k, v in plain.items()}), "log.npz")
    for name, source in (("rllib-json", "rllib-json"), ("rllib-parquet", "rllib-parquet"), ("tensordict", "torchrl")):
        at(name, lambda place, source=source: _copied(FILES / source, place), "log")
    at("policy", policy_file, "policy.safetensors")
    at("behaviour", lambda path: WRITERS.load("d4rl")(replace(log, log_probs_origin="none"), path, None), "log.hdf5")
    policy_file(root / "behaviour/policy.safetensors")
    at("stable-baselines3", sb3_model, "model.zip")


def _copied(source: Path, place: Path) -> None:
    import shutil

    shutil.copytree(source, place)


MAPPED = LogOptions(mapping="map.toml")
SEEDS = {
    **{f"d4rl-{kind}": Seed("d4rl", "log.hdf5") for kind in ("gaussian", "categorical", "v2", "latest", "adroit")},
    "d4rl-v2-words": Seed("d4rl", "log.hdf5"),
    **{f"npz-{kind}": Seed("npz", "log.npz") for kind in ("gaussian", "categorical", "packed")},
    **{f"parquet-{kind}": Seed("parquet", "log.parquet") for kind in ("gaussian", "categorical")},
    "robomimic": Seed("robomimic", "low_dim.hdf5"),
    **{f"lerobot-{kind}": Seed("lerobot", "set", structure=True) for kind in ("v3", "v2")},
    **{f"minari-{kind}": Seed(f"minari-{kind}", "log", structure=True) for kind in ("hdf5", "arrow", "parquet")},
    "minari-gipo": Seed("minari-hdf5", "log", structure=True),
    "open-bandit": Seed("open-bandit", "all.csv"),
    "csv": Seed("csv", "log.csv", MAPPED),
    "arrow": Seed("arrow", "log.arrow"),
    "rllib-json": Seed("rllib-json", "log", structure=True),
    "rllib-parquet": Seed("rllib-parquet", "log", structure=True),
    "tensordict": Seed("tensordict", "log", structure=True),
    "policy": Seed("policy", "policy.safetensors", loader="policy"),
    "behaviour": Seed("policy", "log.hdf5", LogOptions(behaviour="policy.safetensors")),
    "stable-baselines3": Seed("stable-baselines3", "model.zip", loader="stable-baselines3"),
}
