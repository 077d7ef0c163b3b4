"""M2PO: the most extreme samples of a batch sit out, until the second moment of its log ratios is small."""

import torch
from torch import Tensor

from gipo_cli.objectives.ratio import saturated
from gipo_cli.objectives.settings import require_positive
from gipo_cli.objectives.traits import trait


@trait("of_batch")
def m2po(log_ratio: Tensor, advantage: Tensor, *, threshold: float = 0.04) -> Tensor:
    """Importance-weighted policy loss of the samples that a budget of staleness lets in, one value per sample.

        loss = -advantage * ratio * kept

    kept is 1 for the most samples, by rising log_ratio^2, whose mean of log_ratio^2 is at most the threshold.

    The mean of log_ratio^2 is about twice the KL, and unlike the KL no part of it cancels another. The mask depends
    on the whole batch, so a sample's weight is known only beside the others; a sample that sits out has no gradient
    at all. Within the budget nothing is clipped. Samples tied at the edge of the budget are decided by their order.

    Source: Zheng et al., https://arxiv.org/abs/2510.01161, in the form of AReaL, which masks whatever the sign of A

    Args:
        log_ratio: log pi(a|s) - log beta(a|s), in nats, [N]; carries the gradient.
        advantage: in units of return or standardised, [N]; no gradient.
        threshold: budget of the mean square of the kept log ratios, in nats^2, above 0.

    Returns:
        Loss, [N], 0 where a sample sits out. The training loop takes the mean over all N.
    """
    require_positive("m2po", "threshold", threshold)
    squares, order = log_ratio.detach().double().square().sort(stable=True)
    # The running mean of rising numbers never falls, so what fits the budget is the beginning of the order.
    fits = squares.cumsum(0) <= threshold * torch.arange(1, len(squares) + 1, device=squares.device)
    kept = torch.zeros_like(log_ratio, requires_grad=False).scatter(0, order, fits.to(log_ratio.dtype))
    return -saturated(log_ratio) * advantage.detach() * kept
