"""Bias against variance of GIPO's sigma, measured on the log itself."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gipo_cli.diagnostics.mean_ratio import mean_with_error

SIGMAS = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True)
class SigmaError:
    """What an estimate of the surrogate with one sigma is off by, in standard deviations of the advantage."""

    sigma: float | None  # none: the ratio as it is
    mean: float
    bias: float  # against the ratio as it is
    standard_error: float  # with the episode as the unit
    root_mean_square: float


def sigma_curve(
    log_ratio: NDArray[np.floating], advantage: NDArray[np.floating], episode: NDArray[np.integer]
) -> list[SigmaError]:
    """For each sigma the error of mean(w A), w = exp(x - (x / sigma)^2 / 2), as an estimate of mean(exp(x) A).

        rms^2 = max(0, bias^2 - se(bias)^2) + se^2

    The undamped estimate has no bias and all of the variance; a narrow sigma little of it and a bias that no number of
    samples takes away. bias^2 is less what chance alone adds to it. The least is the sigma that *estimates* best at
    this policy with so many episodes: it says what the width costs, and not which one trains best.

    Source: bias-variance decomposition; the weight, https://arxiv.org/abs/2603.03955

    Args:
        log_ratio: in nats, [N].
        advantage: in standard deviations, [N].
        episode: [N].

    Raises:
        ValueError: there is no sample, one episode alone, or a ratio beyond float64.
    """
    x, advantage = (column.astype(np.float64, copy=False) for column in (log_ratio, advantage))
    with np.errstate(over="ignore"):
        raw = np.exp(x) * advantage
    if not np.isfinite(raw).all():
        raise ValueError("some ratio is beyond float64")
    found = [_error(None, raw, raw, episode)]
    for sigma in SIGMAS:
        found.append(_error(sigma, np.exp(x - (x / sigma) ** 2 / 2) * advantage, raw, episode))
    return [*found[1:], found[0]]


def least(curve: list[SigmaError]) -> SigmaError:
    """The sigma of least error; the widest of those that are alike."""
    return min(reversed(curve), key=lambda error: error.root_mean_square)


def _error(
    sigma: float | None, value: NDArray[np.float64], raw: NDArray[np.float64], episode: NDArray[np.integer]
) -> SigmaError:
    mean, error = mean_with_error(value, episode)
    bias, chance = mean_with_error(value - raw, episode)
    if error is None or chance is None:
        raise ValueError("one episode alone has no spread")
    square = max(0.0, bias**2 - chance**2) + error**2
    return SigmaError(sigma, mean, bias, error, square**0.5)
