"""Mean, spread, extremes and quantiles of weights and of log ratios."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

QUANTILES = ("0.01", "0.05", "0.25", "0.5", "0.75", "0.95", "0.99")


def weight_moments(log_weight: NDArray[np.floating]) -> dict[str, float | None]:
    """Mean, standard deviation and maximum of w = exp(log_weight), formed in the log domain.

    The standard deviation is that of the population (ddof = 0). It is scaled by the largest weight, so it is right up
    to the edge of float64; a number beyond that edge (a log weight above 709) is None.

    Args:
        log_weight: natural log of the weights, [N]; -inf is a weight of 0.

    Raises:
        ValueError: there is no sample.
    """
    if log_weight.size == 0:
        raise ValueError("there are no samples")
    largest = float(log_weight.max())
    if largest == -np.inf:
        return {"mean": 0.0, "std": 0.0, "max": 0.0}
    scaled = np.exp(np.subtract(log_weight, largest, dtype=np.float64))
    return {
        "mean": _times_exp(float(scaled.mean()), largest),
        "std": _times_exp(float(scaled.std()), largest),
        "max": _times_exp(1.0, largest),
    }


def quantiles(value: NDArray[np.floating]) -> dict[str, float]:
    """Quantiles of a column, [N], each of them one of its values ("lower"), keyed by the level as text."""
    if value.size == 0:
        raise ValueError("there are no samples")
    found = np.quantile(value, [float(key) for key in QUANTILES], method="lower")
    return {key: float(number) for key, number in zip(QUANTILES, found, strict=True)}


def weight_quantiles(log_weight: Mapping[str, float]) -> dict[str, float | None]:
    """Quantiles of w = exp(log_weight) from those of the log weights, which have the same order.

    They are values that are there, so none of them mixes a weight of 0 with another.
    """
    return {key: _times_exp(1.0, value) for key, value in log_weight.items()}


def _times_exp(factor: float, exponent: float) -> float | None:
    if factor == 0 or exponent == -np.inf:
        return 0.0
    total = np.log(factor) + exponent
    return None if total > np.log(np.finfo(np.float64).max) else float(np.exp(total))
