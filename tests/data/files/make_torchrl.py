"""How files/torchrl was made: tensordict 0.15.3 and torch 2.13, `python make_torchrl.py DIRECTORY`."""

import sys

import torch
from tensordict import NonTensorData, TensorDict

torch.manual_seed(0)
environments, time = 2, 4
observations = torch.randn(environments, time + 1, 3)
following = observations[:, 1:].clone()
following[0, 1] = torch.randn(3)  # this environment was reset after its second step
mean, std = observations[:, :time, :2], 0.5
actions = mean + std * torch.randn(environments, time, 2)
terminated = torch.zeros(environments, time, 1, dtype=torch.bool)
truncated = terminated.clone()
terminated[0, 1] = truncated[1, 3] = True
log = TensorDict(
    {
        "observation": observations[:, :time],
        "action": actions,
        "sample_log_prob": torch.distributions.Normal(mean, std).log_prob(actions).sum(-1),
        "next": {
            "observation": following,
            "reward": torch.arange(environments * time).reshape(environments, time, 1).float(),
            "done": terminated | truncated,
            "terminated": terminated,
            "truncated": truncated,
        },
        "collector": {"traj_ids": torch.tensor([[0, 0, 2, 2], [1, 1, 1, 1]])},
        "agent": NonTensorData("somebody", batch_size=[environments, time]),
    },
    batch_size=[environments, time],
)
log.memmap(sys.argv[1])
