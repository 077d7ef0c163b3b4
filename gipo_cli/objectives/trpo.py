"""TRPO: the importance-weighted surrogate, climbed in steps that a KL divergence bounds."""

from torch import Tensor

from gipo_cli.objectives.no_clip import no_clip
from gipo_cli.objectives.settings import require_positive
from gipo_cli.objectives.traits import trait


@trait("natural")
def trpo(log_ratio: Tensor, advantage: Tensor, *, radius: float = 0.01) -> Tensor:
    """Trust-region policy loss, one value per sample.

        loss = -advantage * exp(log_ratio), lowered subject to mean KL(pi before the step || pi) <= radius

    The loss is No-Clip's; what makes it TRPO is the step, which replaces Adam (training/natural_step.py). The radius is
    of one step, from the policy as it is; on a log that no one can refresh many of them lead anywhere, and what holds
    the policy to the log is the anchor (--kl-target), as for every objective. A step costs dozens of passes over the
    batch: take fewer (--steps 200) and larger ones.

    Source: Schulman et al., https://arxiv.org/abs/1502.05477, equation 14 and appendix C

    Args:
        log_ratio: log pi(a|s) - log beta(a|s), in nats, [N]; carries the gradient.
        advantage: in units of return or standardised, [N]; no gradient.
        radius: nats of a step, above 0.

    Returns:
        Loss, [N]. The training loop takes the mean.
    """
    require_positive("trpo", "radius", radius)
    return no_clip(log_ratio, advantage)
