"""AWR: imitation of the log, the better actions more."""

import math

from torch import Tensor

from gipo_cli.objectives.ratio import constant
from gipo_cli.objectives.settings import require_positive
from gipo_cli.objectives.traits import trait


@trait("imitates")
def awr(log_ratio: Tensor, advantage: Tensor, *, temperature: float = 1.0, cap: float = 20.0) -> Tensor:
    """Advantage-weighted regression loss, one value per sample.

        loss = -sg(min(exp(advantage / temperature), cap)) * log pi

    No ratio appears, so no recorded log-prob is needed and no sample is ever let go of: the natural control for every
    objective that uses one. Bad actions are imitated less, never pushed away. AWAC and IQL extract their policies
    with the same weight (temperature 1 and cap 100; temperature 1/3 and cap 100) from other critics. The loop
    standardises advantages, so the temperature is in standard deviations. The value of the loss is minus the weight;
    only its gradient is that of the formula.

    Source: Peng et al., https://arxiv.org/abs/1910.00177, with the temperature and cap of its code; AWAC,
    https://arxiv.org/abs/2006.09359; IQL, https://arxiv.org/abs/2110.06169

    Args:
        log_ratio: log pi(a|s) - log beta(a|s), in nats, [N]; carries the gradient.
        advantage: standardised, [N]; no gradient.
        temperature: standard deviations of the advantage that make an action e times as heavy, above 0.
        cap: largest weight, above 0.

    Returns:
        Loss, [N]. The training loop takes the mean.
    """
    require_positive("awr", "temperature", temperature)
    require_positive("awr", "cap", cap)
    # Capped before the exponential, which overflows; a cap below the smallest normal number is one all the same.
    weight = (advantage.detach() / temperature).clamp(max=math.log(cap)).exp()
    return -constant(weight, log_ratio)
