"""Sums of weights that are given by their logs, without overflow."""

from math import exp, sqrt

import numpy as np
from numpy.typing import NDArray


class WeightSums:
    """Sums over w = exp(log_weight) of rows that come a block at a time, each divided by the largest weight so far.

    The squares about the mean are joined by Chan's rule, so no digits are lost where weights are nearly equal.

    Source: Chan, Golub and LeVeque 1983, https://doi.org/10.1080/00031305.1983.10483115
    """

    def __init__(self) -> None:
        self.size, self.largest = 0, -np.inf
        self.total, self.square, self.about_mean = 0.0, 0.0, 0.0

    def add(self, log_weight: NDArray[np.float64]) -> None:
        """Add rows, [n], n at least 1; -inf is a weight of 0."""
        largest = max(self.largest, float(log_weight.max()))
        before, self.size = self.size, self.size + log_weight.size
        if largest == -np.inf:
            return
        weight = np.exp(log_weight - largest)
        scale, self.largest = exp(self.largest - largest), largest
        mean, total = self.total * scale / max(before, 1), float(weight.sum())
        gap = total / weight.size - mean
        about_mean = float(np.square(weight - total / weight.size).sum())
        self.about_mean = self.about_mean * scale**2 + about_mean + gap**2 * before * weight.size / self.size
        self.total = self.total * scale + total
        self.square = self.square * scale**2 + float(np.square(weight).sum())

    def ess(self) -> float:
        """Kish's effective sample size; see `gipo_cli.diagnostics.ess.ess`.

        Raises:
            ValueError: there is no sample, or every weight is 0.
        """
        self._require()
        if self.largest == -np.inf:
            raise ValueError("every weight is 0")
        # Rounding may leave equal weights a hair above N.
        return min(max(self.total**2 / self.square, 1.0), float(self.size))

    def ess_fraction(self) -> float:
        """It as a share of the samples."""
        return self.ess() / self.size

    def moments(self) -> dict[str, float | None]:
        """Mean, standard deviation and maximum; see `gipo_cli.diagnostics.moments.weight_moments`.

        Raises:
            ValueError: there is no sample.
        """
        self._require()
        spread = sqrt(self.about_mean / self.size)
        factors = {"mean": self.total / self.size, "std": spread, "max": 1.0}
        return {name: times_exp(factor, self.largest) for name, factor in factors.items()}

    def _require(self) -> None:
        if self.size == 0:
            raise ValueError("there are no samples")


def times_exp(factor: float, exponent: float) -> float | None:
    """A factor times exp(exponent); None beyond float64."""
    if factor == 0 or exponent == -np.inf:
        return 0.0
    total = np.log(factor) + exponent
    return None if total > np.log(np.finfo(np.float64).max) else float(np.exp(total))
