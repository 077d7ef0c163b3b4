"""The anchor: a pull back towards the logged actions, as strong as the KL target needs."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

RATE = 0.01  # largest change of the log coefficient an update
MEMORY = 0.95  # of the running KL
START = 0.1
BOUNDS = (1e-3, 10.0)


@dataclass
class Anchor:
    """A forward-KL penalty whose coefficient steers KL(beta || pi) to a target.

        penalty = -c * mean(log pi(a|s))         over logged actions; its gradient is that of c * KL(beta || pi)

    GIPO's trust weight lets go of a sample once pi has left it, and on static data no fresh one comes; the penalty is
    what pulls back. While the running KL is above the target log c grows, below it it shrinks. State lives in
    tensors on the device, so steering costs no synchronisation. A target of 0 switches the anchor off.
    """

    target: float  # nats
    state: Tensor  # [2] float32: log coefficient, running KL

    @classmethod
    def start(cls, target: float, device: torch.device) -> "Anchor":
        """An anchor before the first update."""
        return cls(target, torch.tensor([math.log(START), 0.0], device=device))

    @property
    def coefficient(self) -> Tensor:
        """c, a scalar tensor; 0 where the anchor is off."""
        return self.state[0].exp() if self.target > 0 else torch.zeros((), device=self.state.device)

    @torch.no_grad()
    def steer(self, kl: Tensor) -> None:
        """Take in the KL of one batch, E[log beta - log pi]."""
        if self.target == 0:
            return
        self.state.copy_(_steered(self.state, self.target, kl))


@dataclass
class Anchors:
    """The anchors of K members side by side, each with a target of its own, 0 where one is off."""

    target: Tensor  # [K], nats
    state: Tensor  # [K, 2] float32: log coefficient, running KL

    @property
    def coefficient(self) -> Tensor:
        """The coefficient of each member, [K]."""
        return torch.where(self.target > 0, self.state[:, 0].exp(), 0.0)

    @torch.no_grad()
    def steer(self, kl: Tensor) -> None:
        """Take in the KL of one batch of each member, [K]."""
        steered = _steered(self.state, self.target, kl)
        self.state.copy_(torch.where(self.target[:, None] > 0, steered, self.state))


def _steered(state: Tensor, target: float | Tensor, kl: Tensor) -> Tensor:
    """The state after a batch's KL; [2], or [K, 2] with a target and a KL each."""
    log_coefficient, running = state.unbind(-1)
    running = MEMORY * running + (1 - MEMORY) * kl
    excess = ((running - target) / target).clamp(-1, 1)
    log_coefficient = (log_coefficient + RATE * excess).clamp(math.log(BOUNDS[0]), math.log(BOUNDS[1]))
    return torch.stack([log_coefficient, running], -1)
