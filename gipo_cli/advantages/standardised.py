"""Observations as networks see them: standardised when they are asked for, so that no second copy of them is kept."""

from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from gipo_cli.training.columns import mean_and_std, rows_where, taken
from gipo_cli.training.samples import Samples

OUTERMOST = 8.0  # a standardised observation is cut here: one wild sensor reading moves no fit


class Standardised:
    """Observations of some rows, less the mean of the held-in rows and over their standard deviation, [..., F].

    Where several versions of a behaviour policy acted, which one did stands beside: each has values of its own.
    """

    def __init__(self, samples: Samples) -> None:
        self.samples = samples
        self.mean, std = mean_and_std(samples.observation, samples.held_in_rows)
        self.std = std + 1e-6

    @property
    def size(self) -> int:
        """F, numbers a row."""
        versions = self.samples.versions
        return self.samples.observation.shape[-1] + (versions if versions > 1 else 0)

    def __getitem__(self, rows: Tensor) -> Tensor:
        """What was seen at some rows, [..., F]."""
        return self._of(taken(self.samples.observation, rows), rows)

    def after(self, rows: Tensor) -> Tensor:
        """What was seen after them, [..., F]."""
        return self._of(self.samples.next_observation(rows), rows)

    def __len__(self) -> int:
        """Places of the table: the N rows, and after them what each of the E episodes ended with."""
        return len(self.samples.reward) + len(self.samples.final_observation)

    def at(self, places: Tensor) -> Tensor:
        """What was seen at some places of the table, [B, F]."""
        rows = len(self.samples.reward)
        beyond = places >= rows
        ended = places[beyond] - rows
        inside = places.masked_scatter(beyond, self._last_rows[ended])
        observation = taken(self.samples.observation, inside)
        observation[beyond] = self.samples.final_observation[ended]
        return self._of(observation, inside)

    def after_in_table(self, rows: Tensor) -> Tensor:
        """What was seen after some rows, with the version that acted then, [B, F]."""
        inside = self.place_after(rows).clamp_max(len(self.samples.reward) - 1)
        version = torch.where(taken(self.samples.episode_end, rows), rows, inside)
        return self._of(self.samples.next_observation(rows), version)

    def place_after(self, rows: Tensor) -> Tensor:
        """Where in the table the observation after each of some rows is."""
        ended = len(self.samples.reward) + taken(self.samples.episode, rows).long()
        return torch.where(taken(self.samples.episode_end, rows), ended, rows + 1)

    @cached_property
    def _last_rows(self) -> Tensor:
        return rows_where(self.samples.episode_end)

    def _of(self, observation: Tensor, rows: Tensor) -> Tensor:
        standardised = ((observation - self.mean) / self.std).clamp(-OUTERMOST, OUTERMOST)
        if self.samples.versions == 1:
            return standardised
        version = F.one_hot(taken(self.samples.version, rows), self.samples.versions)
        return torch.cat([standardised, version.to(standardised.dtype)], -1)
