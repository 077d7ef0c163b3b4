"""What PPO's hard clip would silence."""

import math

import numpy as np
from numpy.typing import NDArray

from gipo_cli.diagnostics.columns import Column, Share, summed

EPSILON = 0.2  # PPO, https://arxiv.org/abs/1707.06347


def outside_clip_fraction(log_ratio: Column) -> float:
    """Share of the samples whose ratio is outside [0.8, 1.2], on either side, whatever the advantage.

    The `clip_frac` of other tools. Samples that PPO still learns from are in it: see `ppo_dead_fraction`.

    Source: Outside_Clip_Frac of the authors of GIPO (AcceRL, docs/clip_metrics.md)

    Args:
        log_ratio: in nats, [N].
    """
    return summed(Share(outside_clip), log_ratio).value()


def outside_clip(log_ratio: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Which samples they are, [n]; log_ratio as in `outside_clip_fraction`."""
    return (log_ratio > math.log1p(EPSILON)) | (log_ratio < math.log1p(-EPSILON))


def ppo_dead_fraction(log_ratio: Column, advantage: Column) -> float:
    """Share of the samples whose gradient PPO-Clip(0.2) would cut to exactly 0.

        mean[(A > 0 and ratio > 1.2) or (A < 0 and ratio < 0.8)]

    Compared as log ratios, so a huge one does not overflow. Samples outside the interval on the other side keep their
    gradient; counting those too gives the larger `clip_frac` of other tools.

    Source: PG_Dead_Frac of the authors of GIPO (AcceRL, docs/clip_metrics.md)

    Args:
        log_ratio: in nats, [N].
        advantage: any unit, [N].
    """
    return summed(Share(ppo_dead), log_ratio, advantage).value()


def ppo_dead(log_ratio: NDArray[np.floating], advantage: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Which samples they are, [n]; log_ratio and advantage as in `ppo_dead_fraction`."""
    too_high = (advantage > 0) & (log_ratio > math.log1p(EPSILON))
    too_low = (advantage < 0) & (log_ratio < math.log1p(-EPSILON))
    return too_high | too_low
