"""Bias against variance of GIPO's sigma, measured on the log itself."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gipo_cli.diagnostics.columns import Column
from gipo_cli.diagnostics.episodes import Runs, runs_of
from gipo_cli.diagnostics.mean_ratio import EpisodeSums, ratio

SIGMAS = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True)
class SigmaError:
    """What an estimate of the surrogate with one sigma is off by, in standard deviations of the advantage."""

    sigma: float | None  # none: the ratio as it is
    mean: float
    bias: float  # against the ratio as it is
    standard_error: float  # with the episode as the unit
    root_mean_square: float


def sigma_curve(log_ratio: Column, advantage: Column, episode: Column | Runs) -> list[SigmaError]:
    """For each sigma the error of mean(w A), w = exp(x - (x / sigma)^2 / 2), as an estimate of mean(exp(x) A).

        rms^2 = max(0, bias^2 - se(bias)^2) + se^2

    The undamped estimate has no bias and all of the variance; a narrow sigma little of it and a bias that no number of
    samples takes away. bias^2 is less what chance alone adds to it. The least is the sigma that *estimates* best at
    this policy with so many episodes: it says what the width costs, and not which one trains best.

    Source: bias-variance decomposition; the weight, https://arxiv.org/abs/2603.03955

    Args:
        log_ratio: in nats, [N].
        advantage: in standard deviations, [N].
        episode: [N], or its runs.

    Raises:
        ValueError: there is no sample, one episode alone, or a ratio beyond float64.
    """
    runs = runs_of(episode)
    sums = {sigma: (EpisodeSums(runs), EpisodeSums(runs)) for sigma in (*SIGMAS, None)}
    for piece, (x, a) in runs.walk(log_ratio, advantage):
        raw = ratio(x) * a
        if not np.isfinite(raw).all():
            raise ValueError("some ratio is beyond float64")
        for sigma, (estimate, off) in sums.items():
            value = raw if sigma is None else _weight(x, sigma) * a
            estimate.add(piece, value)
            off.add(piece, value - raw)
    return [_error(sigma, *both) for sigma, both in sums.items()]


def least(curve: list[SigmaError]) -> SigmaError:
    """The sigma of least error; the widest of those that are alike."""
    return min(reversed(curve), key=lambda error: error.root_mean_square)


def _weight(log_ratio: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    return np.exp(log_ratio - (log_ratio / sigma) ** 2 / 2)


def _error(sigma: float | None, estimate: EpisodeSums, off: EpisodeSums) -> SigmaError:
    mean, error = estimate.mean_with_error()
    bias, chance = off.mean_with_error()
    if error is None or chance is None:
        raise ValueError("one episode alone has no spread")
    square = max(0.0, bias**2 - chance**2) + error**2
    return SigmaError(sigma, mean, bias, error, square**0.5)
