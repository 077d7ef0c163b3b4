"""Mean, spread, extremes and quantiles of weights and of log ratios."""

from collections.abc import Mapping
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from gipo_cli.diagnostics.columns import Column, summed
from gipo_cli.diagnostics.order_statistics import order_statistics
from gipo_cli.diagnostics.weight_sums import WeightSums, times_exp

QUANTILES = ("0.01", "0.05", "0.25", "0.5", "0.75", "0.95", "0.99")


def weight_moments(log_weight: Column) -> dict[str, float | None]:
    """Mean, standard deviation and maximum of w = exp(log_weight), formed in the log domain.

    The standard deviation is that of the population (ddof = 0). It is scaled by the largest weight, so it is right up
    to the edge of float64; a number beyond that edge (a log weight above 709) is None.

    Args:
        log_weight: natural log of the weights, [N]; -inf is a weight of 0.

    Raises:
        ValueError: there is no sample.
    """
    return summed(WeightSums(), log_weight).moments()


class Moments:
    """Sums of a column that comes a block at a time; squares about the mean are joined as `WeightSums` joins them."""

    def __init__(self) -> None:
        self.size, self.total, self.square, self.about_mean = 0, 0.0, 0.0, 0.0

    def add(self, value: NDArray[np.float64]) -> None:
        """Add rows, [n], n at least 1."""
        total, mean = float(value.sum()), self.total / max(self.size, 1)
        gap, size = total / value.size - mean, self.size + value.size
        about_mean = float(np.square(value - total / value.size).sum())
        self.about_mean += about_mean + gap**2 * self.size * value.size / size
        self.size, self.total = size, self.total + total
        self.square += float(np.square(value).sum())

    def mean(self) -> float:
        """As the next two of them.

        Raises:
            ValueError: there is no sample.
        """
        return self.total / self._samples()

    def std(self) -> float:
        """Of the population (ddof = 0)."""
        return sqrt(self.about_mean / self._samples())

    def second_moment(self) -> float:
        """The mean square."""
        return self.square / self._samples()

    def _samples(self) -> int:
        if self.size == 0:
            raise ValueError("there are no samples")
        return self.size


def quantiles(value: Column) -> dict[str, float]:
    """Quantiles of a column, [N], each of them one of its values ("lower"), keyed by the level as text."""
    if len(value) == 0:
        raise ValueError("there are no samples")
    found = order_statistics(value, [int(float(key) * (len(value) - 1)) for key in QUANTILES])
    return {key: float(number) for key, number in zip(QUANTILES, found, strict=True)}


def weight_quantiles(log_weight: Mapping[str, float]) -> dict[str, float | None]:
    """Quantiles of w = exp(log_weight) from those of the log weights, which have the same order.

    They are values that are there, so none of them mixes a weight of 0 with another.
    """
    return {key: times_exp(1.0, value) for key, value in log_weight.items()}
