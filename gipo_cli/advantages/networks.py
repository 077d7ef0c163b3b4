"""Small networks of one shape, several side by side."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gipo_cli.advantages.standardised import Standardised
from gipo_cli.training.columns import every_row, joined
from gipo_cli.training.samples import Samples

WIDTH = 128
SLICE = 512  # rows passed through at a time: their hidden layers stay in the cache


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
def on_every_row(say: Callable[[Tensor], Tensor], samples: Samples) -> Tensor:
    """What `say` says of some rows [B], [..., B], at every row of the log, [..., N]: asked a slice at a time."""
    parts = (part for chunk in samples.every_row() for part in chunk.split(SLICE))
    return joined(len(samples.reward), map(say, parts), axis=-1)


@torch.no_grad()
def on_table(networks: nn.Module, features: Standardised, scale: Tensor | float, shift: Tensor | float = 0.0) -> Tensor:
    """Scale times the first output plus shift, at every place of the table, [K, N + E]."""
    places = (part for chunk in every_row(len(features), features.mean.device) for part in chunk.split(SLICE))
    outputs = (networks(features.at(part))[..., 0] * scale + shift for part in places)
    return joined(len(features), outputs, axis=1)
