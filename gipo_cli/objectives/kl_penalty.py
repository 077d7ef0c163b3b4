"""PPO's other form: no clip, a penalty on the divergence from the behaviour policy."""

from torch import Tensor

from gipo_cli.objectives.ratio import saturated
from gipo_cli.objectives.settings import require_positive
from gipo_cli.objectives.traits import trait


@trait("penalises")
def kl_penalty(log_ratio: Tensor, advantage: Tensor, *, coefficient: float = 1.0) -> Tensor:
    """KL-penalised policy loss, one value per sample.

        loss = -advantage * ratio + coefficient * (ratio - 1 - log_ratio)

    The penalty is the k3 estimate of KL(beta || pi), never negative, with gradient ratio - 1: it holds whatever the
    advantage is, so the weight of a sample depends on the size of its advantage. The coefficient is fixed; the adaptive
    one of the paper, which steers KL to a target, is the anchor of the loop: `--objective no-clip --kl-target X`.

    Source: Schulman et al., https://arxiv.org/abs/1707.06347, equation 8; k3: http://joschu.net/blog/kl-approx.html

    Args:
        log_ratio: log pi(a|s) - log beta(a|s), in nats, [N]; carries the gradient.
        advantage: in units of return or standardised, [N]; no gradient.
        coefficient: of the penalty, in units of the advantage a nat, above 0.

    Returns:
        Loss, [N]. The training loop takes the mean.
    """
    require_positive("kl-penalty", "coefficient", coefficient)
    ratio = saturated(log_ratio)
    return -ratio * advantage.detach() + coefficient * (ratio - 1 - log_ratio)
