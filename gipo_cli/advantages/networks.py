"""Small networks of one shape, several side by side, and the standardised observations that they read."""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gipo_cli.training.columns import mean_and_std
from gipo_cli.training.samples import Samples

WIDTH = 128
SLICE = 512  # rows passed through at a time: their hidden layers stay in the cache
OUTERMOST = 8.0  # a standardised observation is cut here: one wild sensor reading moves no fit


class Networks(nn.Module):
    """K networks of two hidden layers with layer normalisation, [B, F] -> [K, B, H], in one batched product each.

    Members share their input and nothing else. The last layer starts at 0, so the first estimate is nothing.
    """

    def __init__(self, members: int, fan_in: int, fan_out: int, generator: torch.Generator) -> None:
        super().__init__()
        for name, rows, columns in (("first", fan_in, WIDTH), ("second", WIDTH, WIDTH)):
            edge = 1 / math.sqrt(rows)
            weight = torch.empty(members, rows, columns).uniform_(-edge, edge, generator=generator)
            bias = torch.empty(members, 1, columns).uniform_(-edge, edge, generator=generator)
            self.register_parameter(f"{name}_weight", nn.Parameter(weight))
            self.register_parameter(f"{name}_bias", nn.Parameter(bias))
            self.register_parameter(f"{name}_scale", nn.Parameter(torch.ones(members, 1, columns)))
            self.register_parameter(f"{name}_shift", nn.Parameter(torch.zeros(members, 1, columns)))
        self.last_weight = nn.Parameter(torch.zeros(members, WIDTH, fan_out))
        self.last_bias = nn.Parameter(torch.zeros(members, 1, fan_out))

    def forward(self, features: Tensor) -> Tensor:
        """Outputs of every member, [K, B, H]."""
        return torch.baddbmm(self.last_bias, self.hidden(features), self.last_weight)

    def hidden(self, features: Tensor) -> Tensor:
        """What the last layer reads, [K, B, WIDTH]."""
        hidden = features.expand(self.last_weight.shape[0], *features.shape)
        for name in ("first", "second"):
            weight, bias, scale, shift = (
                self.get_parameter(f"{name}_{part}") for part in ("weight", "bias", "scale", "shift")
            )
            hidden = F.layer_norm(torch.baddbmm(bias, hidden, weight), (WIDTH,))
            hidden = torch.relu(torch.addcmul(shift, hidden, scale))
        return hidden


@torch.no_grad()
def on_every_row(networks: nn.Module, features: Tensor) -> Tensor:
    """Outputs for all N rows, [K, N, H], a slice at a time."""
    return torch.cat([networks(chunk) for chunk in features.split(SLICE)], 1)


@dataclass(frozen=True)
class Features:
    """What networks see: observations standardised over the held-in rows, each stored once.

    Where several versions of a behaviour policy acted, which one did stands beside: each has values of its own.
    """

    table: Tensor  # of each row, and after them of the observation after each episode, [N + E, F]
    following: Tensor  # where in the table the observation after each row is, [N]

    @property
    def now(self) -> Tensor:
        """Of each row, [N, F]."""
        return self.table[: len(self.following)]


def standardised(samples: Samples) -> Features:
    """Standardise the log's observations; only those after an episode's end are not those of the row after."""
    mean, std = mean_and_std(samples.observation, samples.held_in_rows)
    std = std + 1e-6
    last_rows = samples.episode_end.nonzero()[:, 0]
    observation = torch.cat([samples.observation, samples.final_observation])
    rows = len(samples.observation)
    following = torch.arange(1, rows + 1, device=samples.device)
    following[last_rows] = rows + torch.arange(len(last_rows), device=samples.device)
    table = ((observation - mean) / std).clamp(-OUTERMOST, OUTERMOST)
    if samples.versions > 1:
        version = torch.cat([samples.version, samples.version[last_rows]])
        table = torch.cat([table, F.one_hot(version).to(table.dtype)], -1)
    return Features(table, following)
