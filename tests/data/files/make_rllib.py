"""How files/rllib-* were made: ray 2.60.0 with lz4, `python make_rllib.py DIRECTORY`, by RLlib's own writers.

rllib-json: JsonWriter, two environments whose rows take turns, in two batches. rllib-packed: the same with the
writer's default, which packs obs and new_obs. rllib-parquet: the rows of OfflineSingleAgentEnvRunner, by Ray Data.
"""

import sys
from pathlib import Path

import numpy as np
import ray
from ray.rllib.env.single_agent_episode import SingleAgentEpisode
from ray.rllib.offline.json_writer import JsonWriter
from ray.rllib.offline.offline_env_runner import OfflineSingleAgentEnvRunner
from ray.rllib.policy.sample_batch import SampleBatch

PLACE, EPISODES = Path(sys.argv[1]), (1234567890123, 987654321)
rng = np.random.default_rng(0)


def normal(*shape):
    return np.round(rng.standard_normal(shape), 3).astype(np.float32)


def batches():
    observations = {episode: normal(7, 3) for episode in EPISODES}
    for unroll, start in enumerate((0, 3)):
        rows = [(episode, t) for t in range(start, start + 3) for episode in EPISODES]
        n = len(rows)
        mean, log_std = normal(n, 2), np.full((n, 2), -0.5, np.float32)
        actions = mean + np.exp(log_std) * normal(n, 2)
        z = (actions - mean) / np.exp(log_std)
        logp = (-0.5 * z**2 - log_std - 0.5 * np.log(2 * np.pi)).sum(-1).astype(np.float32)
        last, first_episode = np.array([t == 5 for _, t in rows]), np.array([e == EPISODES[0] for e, _ in rows])
        yield SampleBatch(
            {
                "obs": np.stack([observations[e][t] for e, t in rows]),
                "new_obs": np.stack([observations[e][t + 1] for e, t in rows]),
                "actions": actions, "rewards": np.arange(n, dtype=np.float32) + unroll * n,
                "terminateds": last & first_episode, "truncateds": last & ~first_episode,
                "infos": [{"TimeLimit.truncated": bool(end)} for end in last],
                "eps_id": np.array([e for e, _ in rows]), "t": np.array([t for _, t in rows]),
                "unroll_id": np.full(n, unroll), "agent_index": np.zeros(n, np.int64),
                "action_prob": np.exp(logp), "action_logp": logp,
                "action_dist_inputs": np.concatenate([mean, log_std], 1),
            }
        )  # fmt: skip


def episode(number):
    steps = 4
    logits, actions = normal(steps, 3), rng.integers(0, 3, steps)
    logp = (logits - np.log(np.exp(logits).sum(-1, keepdims=True)))[np.arange(steps), actions]
    return SingleAgentEpisode(
        id_=f"{number:032x}", observations=list(normal(steps + 1, 2)), actions=list(actions), rewards=[1.0] * steps,
        infos=[{}] * (steps + 1), terminated=number == 0, truncated=number == 1, len_lookback_buffer=0,
        extra_model_outputs={"action_dist_inputs": list(logits), "action_logp": list(logp.astype(np.float32))},
    )  # fmt: skip


class Runner:
    output_compress_columns = ()
    _samples = []  # noqa: RUF012


plain = JsonWriter(str(PLACE / "rllib-json"), compress_columns=[])
packed = JsonWriter(str(PLACE / "rllib-packed"))
for batch in batches():
    plain.write(batch)
packed.write(batch)
OfflineSingleAgentEnvRunner._map_episodes_to_data(Runner, [episode(0), episode(1)])
ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
ray.data.from_items(Runner._samples, override_num_blocks=2).write_parquet(str(PLACE / "rllib-parquet"))
ray.shutdown()
