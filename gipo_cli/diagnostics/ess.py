"""Effective sample size: how many equally weighted samples the weighted ones are worth."""

from gipo_cli.diagnostics.columns import Column, summed
from gipo_cli.diagnostics.weight_sums import WeightSums


def ess(log_weight: Column) -> float:
    """Kish's effective sample size, a count.

        ess = (sum w)^2 / sum w^2,  w = exp(log_weight)

    Formed after dividing by the largest weight, which cancels: it is finite for any log weight, and unchanged by
    adding a constant. N where all weights are equal, 1 where one sample has everything. It is not n / (1 + Var w),
    which agrees only where the mean weight is 1, and it says nothing about samples that should be there and are not.

    Source: Kish, Survey Sampling (1965); ESS_Eff of the authors of GIPO, VCPO https://arxiv.org/abs/2602.17616

    Args:
        log_weight: natural log of the weights, [N]; -inf is a weight of 0.

    Returns:
        Between 1 and N.

    Raises:
        ValueError: there is no sample, or every weight is 0.
    """
    return summed(WeightSums(), log_weight).ess()


def ess_fraction(log_weight: Column) -> float:
    """The effective sample size as a share of the samples, in (0, 1]; see `ess`.

    Source: rollout_is_eff_sample_size of verl
    """
    return ess(log_weight) / len(log_weight)
