"""Train one algorithm of d3rlpy on one of our logs, and roll its policy out as `gipo evaluate` does.

In an environment of its own, because d3rlpy pins an older gymnasium than this package needs:

    python3 -m venv .venv-peers && .venv-peers/bin/pip install torch==2.13.0 d3rlpy==2.8.1 mujoco imageio h5py
    gipo datasets convert hopper-medium hopper-medium.hdf5 --format d4rl
    .venv-peers/bin/python examples/studies/peers/train_peer.py hopper-medium.hdf5 --method iql --seed 0

One JSON document on stdout. Last checkpoint, never the best. Policies act by their mode, as is usual for them;
AWAC's and IQL's are sampled too. Networks and settings are d3rlpy's defaults, with observations standardised, but
for ReBRAC, whose critics have the three layers with layer normalisation of its paper.
"""

import argparse
import contextlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import d3rlpy
import gymnasium
import h5py
import numpy as np
import torch
from d3rlpy.models.encoders import VectorEncoderFactory
from d3rlpy.preprocessing import StandardObservationScaler

DEEP = {
    "actor_encoder_factory": VectorEncoderFactory([256, 256, 256]),
    "critic_encoder_factory": VectorEncoderFactory([256, 256, 256], use_layer_norm=True),
}
METHODS = {
    "bc": (d3rlpy.algos.BCConfig, {"batch_size": 256}),
    "td3+bc": (d3rlpy.algos.TD3PlusBCConfig, {}),
    "awac": (d3rlpy.algos.AWACConfig, {}),
    "iql": (d3rlpy.algos.IQLConfig, {}),
    "rebrac": (d3rlpy.algos.ReBRACConfig, {"actor_beta": 0.01, "critic_beta": 0.01, **DEEP}),
    "cql": (d3rlpy.algos.CQLConfig, {}),
}
SAMPLED = ("awac", "iql")
SIDE_BY_SIDE = 50


def read(path: Path) -> tuple[d3rlpy.dataset.MDPDataset, str, str]:
    """The log with the actions that the environment got, its name and its environment."""
    with h5py.File(path) as file:
        executed = "infos/executed_actions"
        actions = file[executed if executed in file else "actions"][()]
        timeouts = np.asarray(file["timeouts"], bool)
        terminals = np.asarray(file["terminals"], bool)
        if not (timeouts[-1] or terminals[-1]):
            timeouts[-1] = True
        dataset = d3rlpy.dataset.MDPDataset(
            file["observations"][()].astype(np.float32),
            np.clip(actions, -1, 1).astype(np.float32),
            file["rewards"][()].astype(np.float32),
            terminals.astype(np.float32),
            (timeouts & ~terminals).astype(np.float32),
            action_space=d3rlpy.ActionSpace.CONTINUOUS,
        )
        named = file.attrs["env_id"]
        return dataset, path.stem, named.decode() if isinstance(named, bytes) else named


def roll_out(algorithm, environment_id: str, episodes: int, seed: int, sampled: bool) -> tuple[np.ndarray, np.ndarray]:
    """Returns and lengths of whole episodes, from the starts that `gipo evaluate` takes."""
    made = [gymnasium.make(environment_id) for _ in range(min(episodes, SIDE_BY_SIDE))]
    act = algorithm.sample_action if sampled else algorithm.predict
    returns, lengths = np.zeros(episodes), np.zeros(episodes, int)
    for first in range(0, episodes, len(made)):
        batch = range(first, min(first + len(made), episodes))
        start = {k: int(np.random.SeedSequence((seed, k)).generate_state(1)[0]) for k in batch}
        observations = {k: made[k - first].reset(seed=start[k])[0] for k in batch}
        while observations:
            actions = act(np.stack(list(observations.values())).astype(np.float32))
            for k, action in zip(list(observations), np.clip(actions, -1, 1), strict=True):
                following, reward, terminated, truncated, _ = made[k - first].step(action)
                returns[k] += float(reward)
                lengths[k] += 1
                observations[k] = following
                if terminated or truncated:
                    del observations[k]
    return returns, lengths


def main() -> dict[str, Any]:
    """Train and evaluate as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=Path, help="HDF5 file in D4RL's layout")
    parser.add_argument("--method", choices=METHODS, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--updates", type=int, default=20_000)
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    d3rlpy.seed(given.seed)
    d3rlpy.logging.set_log_context(test=True)
    dataset, name, environment_id = read(given.log)
    config, settings = METHODS[given.method]
    algorithm = config(observation_scaler=StandardObservationScaler(), **settings).create(device="cpu:0")
    began = time.monotonic()
    algorithm.fit(
        dataset, n_steps=given.updates, n_steps_per_epoch=given.updates, show_progress=False,
        logger_adapter=d3rlpy.logging.NoopAdapterFactory(),
    )  # fmt: skip
    seconds = time.monotonic() - began
    modes = {"deterministic": False} | ({"stochastic": True} if given.method in SAMPLED else {})
    policy = {}
    for mode, sampled in modes.items():
        returns, lengths = roll_out(algorithm, environment_id, given.episodes, 0, sampled)
        policy[mode] = {
            "mean": returns.mean(), "standard_error": returns.std(ddof=1) / len(returns) ** 0.5,
            "mean_length": lengths.mean(), "episodes": len(returns),
        }  # fmt: skip
    document = {
        "log": name, "environment": environment_id, "method": given.method, "seed": given.seed,
        "updates": given.updates, "seconds": seconds, "policy": policy,
    }  # fmt: skip
    return document


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):  # d3rlpy logs to stdout
        found = main()
    print(json.dumps(found, indent=1))
