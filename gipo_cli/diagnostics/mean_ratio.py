"""The one test of the recorded log-probs that needs nothing but themselves."""

import numpy as np
from numpy.typing import NDArray

from gipo_cli.diagnostics.columns import Column, Computed
from gipo_cli.diagnostics.episodes import Piece, Runs, runs_of


def mean_with_error(value: Column, episode: Column | Runs) -> tuple[float, float | None]:
    """Mean over all steps, and its standard error with the episode as the unit.

        se^2 = E / (E - 1) * sum_e (sum_{t in e} (v_t - mean))^2 / N^2

    Steps of one episode are not independent; an error that takes them so is too small. (The cluster-robust variance
    of a mean, which also serves episodes of different lengths.)

    Args:
        value: [N].
        episode: which episode a step is of, [N], or its runs.

    Returns:
        The mean and its standard error; the error is None where there is one episode alone.

    Raises:
        ValueError: there is no sample, or the sum is beyond float64.
    """
    runs = runs_of(episode)
    sums = EpisodeSums(runs)
    for piece, (block,) in runs.walk(value):
        sums.add(piece, block)
    return sums.mean_with_error()


class EpisodeSums:
    """Sums by episode of values that come a block at a time.

    What is summed is how far they are from the mean of the first block: sums of values that are nearly alike would lose
    the digits in which these differ.
    """

    def __init__(self, runs: Runs) -> None:
        self.runs, self.of_run = runs, np.zeros(len(runs.starts))
        self.total, self.largest, self.middle = 0.0, 0.0, None

    def add(self, piece: Piece, value: NDArray[np.float64]) -> None:
        """Add the values of some rows, [n]."""
        with np.errstate(over="ignore", invalid="ignore"):  # it is told from the sums
            self.total += float(value.sum())
            self.middle = self.total / value.size if self.middle is None else self.middle
            piece.add(self.of_run, value - self.middle)
        self.largest = max(self.largest, float(value.max()), -float(value.min()))

    def mean_with_error(self) -> tuple[float, float | None]:
        """As the function of that name.

        Raises:
            ValueError: the sum is beyond float64.
        """
        rows = int(self.runs.lengths.sum())
        with np.errstate(over="ignore", invalid="ignore"):
            mean, shift = self.total / rows, float(self.of_run.sum()) / rows
        if not (np.isfinite(mean) and np.isfinite(shift)):
            raise ValueError("the mean is beyond float64")
        scale = self.largest or 1.0  # so that squares of huge values stay finite
        sums = self.runs.by_episode((self.of_run - self.runs.lengths * shift) / scale)
        if len(sums) < 2:
            return mean, None
        return mean, float(scale * np.sqrt(len(sums) / (len(sums) - 1) * np.square(sums).sum()) / rows)


def mean_ratio(log_ratio: Column, episode: Column | Runs) -> tuple[float, float | None]:
    """The mean importance ratio, which is 1 in expectation, with its standard error by episode.

        E_beta[pi / beta] = sum_a beta(a) pi(a) / beta(a) = 1

    It holds for any pi that beta covers, at every state, so a mean that is far from 1 says that the recorded log-probs
    do not belong to the recorded actions (wrong Jacobian, scaling, or policy version), or that the tail that makes up
    the mean is not in the sample. On rows that trained pi it is biased: judge it on held-out ones.

    Source: the definition; verl alarms outside 0.5 to 2

    Args:
        log_ratio: in nats, [N].
        episode: which episode a step is of, [N], or its runs.

    Raises:
        ValueError: there is no sample, or some ratio is beyond float64.
    """
    return mean_with_error(Computed(ratio, log_ratio), episode)


def ratio(log_ratio: NDArray[np.float64]) -> NDArray[np.float64]:
    """exp(log_ratio), [n]; infinite beyond float64."""
    with np.errstate(over="ignore"):
        return np.exp(log_ratio)
