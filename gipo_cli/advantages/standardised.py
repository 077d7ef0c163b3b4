"""Observations as networks see them: standardised when they are asked for, so that no second copy of them is kept."""

import torch
import torch.nn.functional as F
from torch import Tensor

from gipo_cli.training.columns import mean_and_std
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
        return self._of(self.samples.observation[rows], rows)

    def after(self, rows: Tensor) -> Tensor:
        """What was seen after them, [..., F]."""
        return self._of(self.samples.next_observation(rows), rows)

    def _of(self, observation: Tensor, rows: Tensor) -> Tensor:
        standardised = ((observation - self.mean) / self.std).clamp(-OUTERMOST, OUTERMOST)
        if self.samples.versions == 1:
            return standardised
        version = F.one_hot(self.samples.version[rows], self.samples.versions)
        return torch.cat([standardised, version.to(standardised.dtype)], -1)
