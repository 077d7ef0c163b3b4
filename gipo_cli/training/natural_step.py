"""TRPO's update: the natural gradient, as far as a mean KL divergence allows."""

from collections.abc import Callable

import torch
from torch import Tensor

from gipo_cli.policies.policy import Policy

ITERATIONS = 10  # of conjugate gradients, as in the paper's code
DAMPING = 0.1  # added to the Fisher matrix, which a batch alone leaves singular
HALVINGS = 10


def natural_step(
    policy: Policy,
    loss: Callable[[], Tensor],
    observation: Tensor,
    radius: float,
    total: Callable[[Tensor], Tensor] = Tensor.detach,
    rows: int = 0,
) -> float:
    """Change the policy by one step of the natural gradient; not at all where no step helps.

        x = (F + 0.1 I)^-1 g,   step = -x sqrt(2 radius / x (F + 0.1 I) x),   halved until loss falls and KL <= radius

    g is the gradient of the loss and F the Hessian of KL(pi before || pi) at no step, of which only products with a
    vector are formed. The KL is exact, over the distributions and not over logged actions.

    Args:
        policy: changed in place.
        loss: of the policy as it is when called, a scalar.
        observation: states over which the KL is averaged, [B, O].
        radius: nats.
        total: the sum of a tensor over those that each have a part of the batch; alone, the tensor itself.
        rows: of the whole batch; 0 where `observation` is all of it.

    Returns:
        KL of the step taken, in nats; 0 where none was.

    Source: Schulman et al., https://arxiv.org/abs/1502.05477, appendix C
    """
    parameters = [p for p in policy.parameters() if p.requires_grad]
    before = loss()
    gradient = total(_flat(torch.autograd.grad(before, parameters)))
    before = total(before)
    old = tuple(part.detach() for part in policy.parameters_at(observation))

    def divergence() -> Tensor:
        return policy.divergence(old, policy.parameters_at(observation)).sum() / (rows or len(observation))

    def fisher(vector: Tensor) -> Tensor:
        first = _flat(torch.autograd.grad(divergence(), parameters, create_graph=True))
        return total(_flat(torch.autograd.grad(first @ vector, parameters))) + DAMPING * vector

    direction = _solve(fisher, gradient)
    size = direction @ fisher(direction)
    if not size > 0:
        return 0.0
    step = -direction * (2 * radius / size).sqrt()
    start = torch.nn.utils.parameters_to_vector(parameters).detach().clone()
    for halving in range(HALVINGS):
        torch.nn.utils.vector_to_parameters(start + step * 0.5**halving, parameters)
        with torch.no_grad():
            moved = total(divergence()).item()
            if moved <= radius and total(loss()) < before:
                return moved
    torch.nn.utils.vector_to_parameters(start, parameters)
    return 0.0


def _flat(parts: tuple[Tensor, ...]) -> Tensor:
    return torch.cat([part.reshape(-1) for part in parts])


def _solve(product: Callable[[Tensor], Tensor], right: Tensor) -> Tensor:
    """Solve product(x) = right by conjugate gradients from 0."""
    x, residual = torch.zeros_like(right), right.clone()
    direction, size = residual.clone(), residual @ residual
    for _ in range(ITERATIONS):
        if size <= 1e-20:
            break
        image = product(direction)
        along = size / (direction @ image)
        x, residual = x + along * direction, residual - along * image
        smaller = residual @ residual
        direction, size = residual + smaller / size * direction, smaller
    return x
