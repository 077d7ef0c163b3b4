"""The updates of K policies as one computation: every tensor has the member as its first axis."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap

from gipo_cli.config import TrainConfig
from gipo_cli.policies.policy import Policy
from gipo_cli.runs import RunDirectory
from gipo_cli.training.anchor import Anchors
from gipo_cli.training.loop import TRAIN_ORDER
from gipo_cli.training.order import RowsSideBySide, ShuffledRows
from gipo_cli.training.recorded import Recorded, wants_recording
from gipo_cli.training.samples import Samples
from gipo_cli.training.state import Training, adam_over
from gipo_cli.training.update import Batch, scheduled_rate, set_learning_rate

# Rows of all members that a thread of the CPU works on at once: hidden layers of 256 are then 4 MB. With 65,536, those
# of 64 members at batch 1024, an update takes half as much CPU time again: python -m tests.benchmarks --only ensembles.
ROWS_ON_CPU = 4096
MOMENTS = ("exp_avg", "exp_avg_sq")  # Adam's, of each parameter


@dataclass
class Member:
    """One of the runs that train side by side."""

    name: str
    config: TrainConfig
    run: RunDirectory
    samples: Samples  # the columns of the log are those of all
    now: Training
    reached: int = 0  # step of its newest checkpoint, which may be further than where all go on
    diverged: str = ""  # what was said when it did; what it holds from then on means nothing

    def settings(self) -> dict[str, float]:
        """Of the objective, with sigma as it now is."""
        return self.now.width.settings(self.config.settings)


class Stacked:
    """K trainings side by side, whose every update is what each would have done alone, up to rounding.

    A member's `Training` looks into the stacked tensors: its policy, the moments of its optimizer, its anchor and its
    advantages are always those of the last update, and nothing is copied to report on it or to save it. Members have
    configurations that differ in seed and sigma alone, and policies of one shape.

    An update looks at no number on the way, and what it reads and writes has one shape and one place from the first to
    the last, so a GPU's is recorded once. `sums` holds loss and KL since they were last set to zero, [K, 2],
    and `rows` those of the last update, [K, B].
    """

    def __init__(self, objective: Callable[..., Tensor], members: Sequence[Member]) -> None:
        """Stack what the members have, and let each look into it."""
        trainings = [member.now for member in members]
        self.objective, self.members, self.config = objective, members, members[0].config
        self._shared = members[0].samples
        self._home = _homes(members)
        self._advantage = torch.stack([now.advantage for now in trainings])
        self._anchors = Anchors(
            torch.tensor([now.anchor.target for now in trainings], device=self._shared.device),
            torch.stack([now.anchor.state for now in trainings]),
        )
        self._parameters, self._buffers = stack_module_state([_Losses(now.policy) for now in trainings])
        self._optimizer = _stacked_adam(self._parameters, trainings)
        self._losses = _Losses(Policy(trainings[0].policy.spec).to("meta"))
        self._settings = members[0].settings()
        self._varying = self._settings_apart()  # [K] each
        self._order = RowsSideBySide([_order_of(member) for member in members])
        self.rows = self._order.batch(trainings[0].step).clone()
        self.sums = torch.zeros(len(members), 2, device=self._shared.device)
        self._step = Recorded(self._take_step, wants_recording(self.config, self._shared.device))
        self._let_look()

    def take_sigma(self) -> None:
        """Take in what a report has steered sigma to."""
        for name, values in self._varying.items():
            values.copy_(torch.tensor([member.settings()[name] for member in self.members]))

    def _settings_apart(self) -> dict[str, Tensor]:
        """The objective's settings of which members have, or may come to have, values of their own."""
        given = [member.settings() for member in self.members]
        steered = ["sigma"] * any(member.now.width.target > 0 for member in self.members)
        apart = [name for name in given[0] if name in steered or len({settings[name] for settings in given}) > 1]
        device = self._shared.device
        return {name: torch.tensor([settings[name] for settings in given], device=device) for name in apart}

    def update(self, step: int) -> None:
        """Update number `step` of every member, counted from 0."""
        self.rows.copy_(self._order.batch(step))
        set_learning_rate(self._optimizer, scheduled_rate(self.config, step))
        self._step()

    def _take_step(self) -> None:
        """As `update.take_step`, of all members."""
        loss, kl = self._losses_of(self.rows)
        found = torch.stack([loss.detach(), kl.detach()], -1)
        self._anchors.steer(found[:, 1])
        self._optimizer.zero_grad()
        (loss + self._anchors.coefficient * kl).sum().backward()
        clip_each([*self._parameters.values()], self.config.max_gradient_norm)
        self._optimizer.step()
        self.sums += found

    def _losses_of(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Mean loss and KL at home of each member's batch, [K] each, by the code that a single run has."""

        def of_member(
            tensors: dict[str, Tensor], advantage: Tensor, home: Tensor, varying: dict[str, Tensor], rows: Tensor
        ) -> tuple[Tensor, Tensor]:
            samples = replace(self._shared, home=home)
            settings: dict[str, Any] = {**self._settings, **varying}
            batch = Batch(self.objective, settings, advantage, samples, rows)
            return functional_call(self._losses, tensors, (batch,))

        tensors = {**self._parameters, **self._buffers}
        return vmap(of_member)(tensors, self._advantage, self._home, self._varying, rows)

    def batch_of(self, k: int) -> Batch:
        """Member k's part of the last update, as reports want it."""
        member = self.members[k]
        return Batch(self.objective, member.settings(), member.now.advantage, member.samples, self.rows[k])

    def tell(self, step: int) -> None:
        """Let the members know how far they are."""
        for member in self.members:
            member.now.step = step
            set_learning_rate(member.now.optimizer, float(self._optimizer.param_groups[0]["lr"]))

    def _let_look(self) -> None:
        for k, member in enumerate(self.members):
            now = member.now
            now.advantage, now.anchor.state = self._advantage[k], self._anchors.state[k]
            for name, parameter in now.policy.named_parameters():
                stacked = self._parameters[f"policy.{name}"]
                parameter.data = stacked.detach()[k]
                state = self._optimizer.state[stacked]
                views = {moment: state[moment][k] for moment in MOMENTS}
                now.optimizer.state[parameter] = {"step": state["step"], **views}


def stack(objective: Callable[..., Tensor], members: Sequence[Member]) -> list[Stacked]:
    """Members side by side: all at once on a GPU, on a CPU as many as its cache is good for, the others beside them."""
    batch, device = members[0].config.batch_size, members[0].samples.device
    at_once = len(members) if device.type != "cpu" else max(1, ROWS_ON_CPU // batch)
    return [Stacked(objective, members[first : first + at_once]) for first in range(0, len(members), at_once)]


def _order_of(member: Member) -> ShuffledRows:
    """The rows of each update, the same as it would have alone."""
    config = member.config
    return ShuffledRows(member.samples.training_rows(config.stale_rows), config.batch_size, config.seed, TRAIN_ORDER)


def _homes(members: Sequence[Member]) -> Tensor:
    """Which rows are home to each member, [K, N]; where every row is to all, that takes the room of one."""
    homes = [member.samples.home for member in members]
    if all(home.stride() == (0,) and bool(home[0]) for home in homes):
        return homes[0].expand(len(homes), -1)
    return torch.stack(homes)


class _Losses(nn.Module):
    """What is differentiated, as the forward pass of a module, whose parameters can be handed to it."""

    def __init__(self, policy: Policy) -> None:
        super().__init__()
        self.policy = policy

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        found = batch.losses(self.policy, batch.rows)
        return found.loss, found.kl


def _stacked_adam(parameters: dict[str, Tensor], trainings: Sequence[Training]) -> torch.optim.Optimizer:
    """Adam over stacked parameters: it works on each number by itself, so each member's is what its own would be."""
    optimizer = adam_over(parameters.values(), lr=0.0)
    names = [name for name, _ in trainings[0].policy.named_parameters()]
    for name in names:
        stacked = parameters[f"policy.{name}"]
        states = [now.optimizer.state[now.policy.get_parameter(name)] for now in trainings]
        began = bool(states[0])
        optimizer.state[stacked] = {
            "step": states[0]["step"] if began else torch.zeros((), device=stacked.device),
            **{
                moment: torch.stack([state[moment] for state in states]) if began else torch.zeros_like(stacked)
                for moment in MOMENTS
            },
        }
    return optimizer


def clip_each(parameters: Sequence[Tensor], max_norm: float) -> None:
    """Shorten every member's gradient to `max_norm` where it is longer, as `clip_grad_norm_` does one.

        g_k = g_k * min(1, max_norm / (|g_k| + 1e-6)),   |g_k| over all parameters of member k

    Args:
        parameters: with their gradients, [K, ...] each.
        max_norm: largest norm.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norms = torch.stack([gradient.flatten(1).norm(dim=1) for gradient in gradients]).norm(dim=0)
    shares = (max_norm / (norms + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(shares.view(-1, *[1] * (gradient.dim() - 1)))
