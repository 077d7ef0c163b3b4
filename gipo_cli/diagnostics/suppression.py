"""Samples that the objective has, in effect, thrown away."""

import numpy as np
from numpy.typing import NDArray

from gipo_cli.diagnostics.columns import Column, Share, summed

NEGLIGIBLE = 1e-3  # the authors' threshold (AcceRL, docs/clip_metrics.md)


def suppressed_fraction(weight: Column) -> float:
    """Share of the samples whose effective weight is below 1e-3.

    The weight is the whole factor of the gradient, ratio included: the authors call this share NearZero_U_Frac, and
    apply the same threshold to the trust factor alone under the name Suppressed_Frac. A sample that pi made a
    thousand times less likely counts here whatever the trust factor is.

    Source: AcceRL, docs/clip_metrics.md

    Args:
        weight: effective weight, [N].
    """
    return summed(Share(suppressed), weight).value()


def suppressed(weight: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Which samples they are, [n]; weight as in `suppressed_fraction`."""
    return weight < NEGLIGIBLE
