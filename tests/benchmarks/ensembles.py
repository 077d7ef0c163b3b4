"""Updates of K policies side by side, in updates of a member: what one run does, and what an ensemble does for each.

`--device cuda` measures it on a GPU, where one small policy leaves most of the device idle.
"""

from collections.abc import Iterator
from operator import methodcaller
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks import made_up, updates
from tests.benchmarks.comparison import Comparison, Subject
from tests.benchmarks.made_up import ACTION, HIDDEN, OBSERVATION
from tests.benchmarks.scale import Scale

if TYPE_CHECKING:
    from gipo_cli.ensemble.stacked import Member

NOWHERE = Path("made-up")  # where nothing is written
LARGEST_BATCH = 1024  # of 64 members, whose hidden layers are then 67 MB each


def comparisons(scale: Scale) -> Iterator[Comparison]:
    """One for each size of batch up to LARGEST_BATCH."""
    for batch in scale.batches:
        if batch <= LARGEST_BATCH:
            yield Comparison(
                f"ensemble of K members, batch {batch}, {scale.device}",
                "updates of a member",
                {
                    "one run": lambda batch=batch: one_run(scale, batch),
                    **{
                        f"ensemble, K = {count}": lambda batch=batch, count=count: ensemble(scale, batch, count)
                        for count in scale.members
                    },
                },
                samples=batch,
            )


def one_run(scale: Scale, batch: int) -> Subject:
    """What `gipo train --seed 0` does between two reports."""
    (member,) = members(scale, batch, 1)
    return Subject(updates.update_of(member.config, member.samples, member.now))


def ensemble(scale: Scale, batch: int, count: int) -> Subject:
    """What `gipo train --seeds` does between two reports, for all its members."""
    from gipo_cli.ensemble.stacked import stack
    from gipo_cli.pieces import each, sharing
    from gipo_cli.registry import OBJECTIVES

    stacks = stack(OBJECTIVES.load("gipo"), members(scale, batch, count))
    steps = iter(range(10**9))

    def work(times: int) -> None:
        with sharing(0):
            for _, step in zip(range(times // count), steps, strict=False):
                each(methodcaller("update", step), stacks)
        wait_for(scale.device)

    return Subject(work, chunk=count)


def members(scale: Scale, batch: int, count: int) -> "list[Member]":
    """Seeds 0, 1, ... with sigmas from 0.5 to 2, on one log."""
    import torch

    from gipo_cli.config import TrainConfig
    from gipo_cli.ensemble.stacked import Member
    from gipo_cli.policies.policy import Policy, PolicySpec
    from gipo_cli.runs import RunDirectory
    from gipo_cli.training.samples import to_samples, with_held_out
    from gipo_cli.training.state import begun

    device, log = torch.device(scale.device), made_up.log(scale.rows)
    shared = to_samples(log, 0.1, 0, device)
    advantage = torch.as_tensor(made_up.arrays(scale.rows).advantage, device=device)
    found = []
    for seed in range(count):
        torch.manual_seed(seed)
        policy = Policy(PolicySpec("gaussian", OBSERVATION, ACTION, HIDDEN, "tanh")).to(device)
        settings = {"sigma": (0.5, 1.0, 2.0)[seed % 3], "sigma_negative_ratio": 1.0}
        config = TrainConfig("made-up", settings=settings, seed=seed, batch_size=batch, steps=10**9)
        now = begun(config, policy, advantage, {"warm_start": {"kl": 0.0}}, None)
        samples = with_held_out(shared, log, 0.1, seed)
        found.append(Member(f"seed-{seed}", config, RunDirectory(NOWHERE), samples, now))
    return found


def wait_for(device: str) -> None:
    """Until the device has done what it was given."""
    if device != "cpu":
        import torch

        torch.cuda.synchronize(device)
