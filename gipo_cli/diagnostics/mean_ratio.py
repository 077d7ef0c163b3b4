"""The one test of the recorded log-probs that needs nothing but themselves."""

import numpy as np
from numpy.typing import NDArray

from gipo_cli.diagnostics.episodes import numbered


def mean_with_error(value: NDArray[np.floating], episode: NDArray[np.integer]) -> tuple[float, float | None]:
    """Mean over all steps, and its standard error with the episode as the unit.

        se^2 = E / (E - 1) * sum_e (sum_{t in e} (v_t - mean))^2 / N^2

    Steps of one episode are not independent; an error that takes them so is too small. (The cluster-robust variance
    of a mean, which also serves episodes of different lengths.)

    Args:
        value: [N].
        episode: which episode a step is of, [N].

    Returns:
        The mean and its standard error; the error is None where there is one episode alone.

    Raises:
        ValueError: there is no sample, or the sum is beyond float64.
    """
    if value.size == 0:
        raise ValueError("there are no samples")
    with np.errstate(over="ignore"):
        mean = float(np.mean(value, dtype=np.float64))
    if not np.isfinite(mean):
        raise ValueError("the mean is beyond float64")
    index = numbered(episode)
    episodes = int(index.max()) + 1
    if episodes < 2:
        return mean, None
    # Scaled, so that squares of huge values stay finite.
    scale = float(np.abs(value).max()) or 1.0
    sums = np.bincount(index, weights=(value - mean) / scale, minlength=episodes)
    return mean, float(scale * np.sqrt(episodes / (episodes - 1) * np.square(sums).sum()) / value.size)


def mean_ratio(log_ratio: NDArray[np.floating], episode: NDArray[np.integer]) -> tuple[float, float | None]:
    """The mean importance ratio, which is 1 in expectation, with its standard error by episode.

        E_beta[pi / beta] = sum_a beta(a) pi(a) / beta(a) = 1

    It holds for any pi that beta covers, at every state, so a mean that is far from 1 says that the recorded log-probs
    do not belong to the recorded actions (wrong Jacobian, scaling, or policy version), or that the tail that makes up
    the mean is not in the sample. On rows that trained pi it is biased: judge it on held-out ones.

    Source: the definition; verl alarms outside 0.5 to 2

    Args:
        log_ratio: in nats, [N].
        episode: which episode a step is of, [N].

    Raises:
        ValueError: there is no sample, or some ratio is beyond float64.
    """
    with np.errstate(over="ignore"):
        ratio = np.exp(log_ratio.astype(np.float64, copy=False))
    return mean_with_error(ratio, episode)
