"""Behaviour cloning: what every offline method has to beat."""

import torch
from torch import Tensor

from gipo_cli.objectives.ratio import constant
from gipo_cli.objectives.traits import trait


@trait("imitates")
def behaviour_cloning(log_ratio: Tensor, advantage: Tensor) -> Tensor:
    """Behaviour-cloning loss, one value per sample.

        loss = -log pi

    Advantages play no part. Where training starts from the behaviour policy itself there is nothing left to learn,
    and what moves is noise. The value of the loss is -1; only its gradient is that of the formula.

    Source: maximum likelihood; the row "BC" of every offline table, as of https://arxiv.org/abs/2004.07219

    Args:
        log_ratio: log pi(a|s) - log beta(a|s), in nats, [N]; carries the gradient.
        advantage: any unit, [N]; not used.

    Returns:
        Loss, [N]. The training loop takes the mean.
    """
    return -constant(torch.ones_like(log_ratio), log_ratio)
