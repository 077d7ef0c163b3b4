"""Updates of a policy: gipo's own, the same mathematics elsewhere, and what other libraries call an update.

Every subject has networks of two layers of 256 tanh and reads batches out of the same arrays. What one update is
differs and is said in its name: IQL's and AWAC's train critics as well, Stable-Baselines3's a value function.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tests.benchmarks import made_up
from tests.benchmarks.comparison import Comparison, Subject
from tests.benchmarks.made_up import ACTION, HIDDEN, OBSERVATION, Arrays
from tests.benchmarks.peers import (
    compiled,
    d3rlpy_updates,
    jax_scan,
    matrix_products,
    plain_torch,
    sb3_ppo,
    torchrl_ppo,
)
from tests.benchmarks.scale import Scale

if TYPE_CHECKING:
    from collections.abc import Callable

    from gipo_cli.config import TrainConfig
    from gipo_cli.training.samples import Samples
    from gipo_cli.training.state import Training


def comparisons(scale: Scale) -> Iterator[Comparison]:
    """One for each size of batch."""
    made = made_up.arrays(scale.rows)
    for batch in scale.batches:
        yield Comparison(
            f"policy updates, batch {batch}",
            "updates",
            {
                "gipo": lambda batch=batch: gipo(scale.rows, batch, scale.device),
                **(
                    on_the_cpu(scale.rows, made, batch, scale.peers)
                    if scale.device == "cpu"
                    else on_a_gpu(scale, batch)
                ),
            },
            samples=batch,
            alone=batch == 1024,
        )


def on_a_gpu(scale: Scale, batch: int) -> "dict[str, Callable[[], Subject]]":
    """What recording an update as a graph saves."""
    return {"gipo, kernel by kernel": lambda: gipo(scale.rows, batch, scale.device, recorded=False)}


def on_the_cpu(rows: int, made: Arrays, batch: int, with_peers: bool) -> "dict[str, Callable[[], Subject]]":
    """The same mathematics, the machine's limit, and peers where they are wanted."""
    return {
        "the same in plain torch": lambda: plain_torch.updates(made, batch),
        "its matrix products alone (limit)": lambda: matrix_products.updates(batch),
        **(peers(rows, made, batch) if with_peers else {}),
    }


def peers(rows: int, made: Arrays, batch: int) -> "dict[str, Callable[[], Subject]]":
    """What a compiler makes of ours, and what others do."""
    return {
        "gipo, losses by torch.compile": lambda: compiled.under_torch_compile(gipo(rows, batch)),
        "the same in jax, jitted scan": lambda: jax_scan.updates(made, batch),
        "torchrl ClipPPOLoss, policy": lambda: torchrl_ppo.updates(made, batch),
        "stable-baselines3 PPO.train, policy and V": lambda: sb3_ppo.updates(made, batch),
        "d3rlpy IQL, 2 Q, V and policy": lambda: d3rlpy_updates.updates("IQL", made, batch),
        "d3rlpy IQL, its batch made beforehand": lambda: d3rlpy_updates.updates("IQL", made, batch, beforehand=True),
        "d3rlpy AWAC, 2 Q and policy": lambda: d3rlpy_updates.updates("AWAC", made, batch),
    }


def gipo(rows: int, batch: int, device: str = "cpu", *, recorded: bool = True) -> Subject:
    """Our update, on the log that the arrays are; on a GPU recorded as a graph, or launched kernel by kernel."""
    import torch

    from gipo_cli.config import TrainConfig
    from gipo_cli.policies.policy import Policy, PolicySpec
    from gipo_cli.training.samples import to_samples
    from gipo_cli.training.state import begun

    config = TrainConfig("made-up", batch_size=batch, steps=10**9, cuda_graph=recorded)
    samples = to_samples(made_up.log(rows), config.held_out_fraction, config.seed, torch.device(device))
    torch.manual_seed(0)
    policy = Policy(PolicySpec("gaussian", OBSERVATION, ACTION, HIDDEN, "tanh")).to(device)
    advantage = torch.as_tensor(made_up.arrays(rows).advantage, device=device)
    return Subject(update_of(config, samples, begun(config, policy, advantage, {"warm_start": {"kl": 0.0}}, None)))


def update_of(config: "TrainConfig", samples: "Samples", now: "Training") -> "Callable[[int], None]":
    """What `loop.fit` does between two reports, so many times; a test holds it to the bytes that fit comes to."""
    import torch

    from gipo_cli.pieces import sharing
    from gipo_cli.registry import OBJECTIVES
    from gipo_cli.training.loop import TRAIN_ORDER
    from gipo_cli.training.order import ShuffledRows
    from gipo_cli.training.recorded import RecordedUpdates
    from gipo_cli.training.update import Batch

    objective, settings = OBJECTIVES.load(config.objective), now.width.settings(config.settings)
    order = ShuffledRows(samples.training_rows(config.stale_rows), config.batch_size, config.seed, TRAIN_ORDER)
    sums, update = torch.zeros(2, device=samples.device), RecordedUpdates(config, samples.device)

    def updates(times: int) -> None:
        with sharing(0):
            for _ in range(times):
                sums.add_(update(now, Batch(objective, settings, now.advantage, samples, order.batch(now.step))))
                now.step += 1
            if samples.device.type == "cuda":
                torch.cuda.synchronize(samples.device)

    return updates
