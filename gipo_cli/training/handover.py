"""What rank 0 found before the first update, or read from a checkpoint, on every rank."""

import json
from pathlib import Path

import torch
from safetensors.torch import load, save
from torch import Tensor

from gipo_cli.config import TrainConfig
from gipo_cli.training.checkpoints import Checkpoint
from gipo_cli.training.distributed import Ranks
from gipo_cli.training.signals import Stop
from gipo_cli.training.state import Training, contents, restore

SEPARATOR = "/"


def handed_over(ranks: Ranks, now: Training | None, config: TrainConfig, device: torch.device, stop: Stop) -> Training:
    """The state to train from: rank 0's own, and the same to the last bit on the others.

    Args:
        ranks: this process among them.
        now: of rank 0; the others have none yet.
        config: of the run.
        device: of this rank.
        stop: of the signals.
    """
    content = ranks.from_first("start", b"" if now is None or ranks.size == 1 else _packed(now), stop)
    return now or restore(config, _unpacked(content), device)


def _packed(now: Training) -> bytes:
    tensors, state = contents(now)
    flat = {
        f"{group}{SEPARATOR}{name}": tensor.cpu().contiguous()
        for group, members in tensors.items()
        for name, tensor in members.items()
    }
    words = json.dumps({**state, "step": now.step}).encode()
    return len(words).to_bytes(8, "little") + words + save(flat)


def _unpacked(content: bytes) -> Checkpoint:
    end = 8 + int.from_bytes(content[:8], "little")
    state = json.loads(content[8:end])
    tensors: dict[str, dict[str, Tensor]] = {"training": {}, "policy": {}, "optimizer": {}}
    for key, tensor in load(content[end:]).items():
        group, _, name = key.partition(SEPARATOR)
        tensors.setdefault(group, {})[name] = tensor
    return Checkpoint(Path("rank 0"), state["step"], tensors, state)
