"""d3rlpy's IQL and AWAC: one call of `update`, and the making of its batch, as `fit` has it."""

from typing import Any

import numpy as np

from tests.benchmarks.comparison import Subject
from tests.benchmarks.made_up import HIDDEN, Arrays

NEEDS = "d3rlpy pins an older gymnasium and is installed beside it: pip install --no-deps d3rlpy==2.8.1"


def updates(method: str, made: Arrays, batch: int, beforehand: bool = False) -> Subject:
    """Of the method named, with its own settings but for the networks and the batch.

    Args:
        method: IQL or AWAC.
        made: the log.
        batch: rows.
        beforehand: make one batch, and update on it again and again: the update without its batch.
    """
    try:
        import d3rlpy
    except ImportError as error:
        raise ImportError(f"{error}; {NEEDS}") from error
    d3rlpy.logging.set_log_context(test=True)
    d3rlpy.seed(0)
    encoder = d3rlpy.models.VectorEncoderFactory([*HIDDEN], activation="tanh")
    networks = {"actor_encoder_factory": encoder, "critic_encoder_factory": encoder}
    networks |= {"value_encoder_factory": encoder} if method == "IQL" else {}
    algorithm = getattr(d3rlpy.algos, f"{method}Config")(batch_size=batch, **networks).create(device="cpu:0")
    log = d3rlpy.dataset.MDPDataset(**_log(made))
    buffer = d3rlpy.dataset.create_infinite_replay_buffer(log.episodes)
    algorithm.build_with_dataset(buffer)
    again = buffer.sample_transition_batch(batch)

    def update(times: int) -> None:
        for _ in range(times):
            algorithm.update(again if beforehand else buffer.sample_transition_batch(batch))

    return Subject(update)


def _log(made: Arrays) -> dict[str, Any]:
    """Columns by their names there; actions within the bounds of a policy that ends in tanh."""
    columns = {
        "observations": made.observation,
        "actions": np.clip(made.action, -1, 1),
        "rewards": made.reward,
        "terminals": made.terminated,
        "timeouts": made.ends & ~made.terminated,
    }
    return {name: column.astype(np.float32) for name, column in columns.items()}
