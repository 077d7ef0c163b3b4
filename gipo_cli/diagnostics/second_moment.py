"""The second moment of the log ratio."""

from gipo_cli.diagnostics.columns import Column, summed
from gipo_cli.diagnostics.moments import Moments


def second_moment(log_ratio: Column) -> float:
    """How far the policies are apart, counting both directions, in nats squared.

        M2 = mean(x^2),  x = log pi - log beta

    Not a variance: the mean is not taken off. Near x = 0, M2 / 2 is the KL; positive and negative log ratios do not
    cancel as they do in k1. The mean trust factor of GIPO is at least exp(-M2 / (2 sigma^2)).

    Source: M2PO, https://arxiv.org/abs/2510.01161

    Args:
        log_ratio: x, in nats, [N].
    """
    return summed(Moments(), log_ratio).second_moment()
