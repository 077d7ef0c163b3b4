"""What sets some objectives apart from the rest, said on the objective itself."""

from collections.abc import Callable

from torch import Tensor

Objective = Callable[..., Tensor]


def trait(name: str) -> Callable[[Objective], Objective]:
    """Mark an objective; what is not marked keeps the whole contract of the folder.

    Args:
        name: `imitates`, its weight multiplies grad log pi alone and not the advantage; `of_batch`, a sample's weight
            depends on the batch around it; `penalises`, part of its loss holds whatever the advantage is; `natural`,
            it wants the natural gradient's step in place of Adam's, and has a `radius` for it.
    """

    def mark(objective: Objective) -> Objective:
        vars(objective)[name] = True
        return objective

    return mark


def has_trait(objective: Objective, name: str) -> bool:
    """Whether the objective is marked so."""
    return bool(vars(objective).get(name, False))
