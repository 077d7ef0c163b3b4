"""Checkpoints: written so that a kill at any instant leaves the old one or the new one, never half of either."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from gipo_cli.checkpoint_files import MANIFEST, STATE, find_latest, is_whole, write
from gipo_cli.errors import RunError
from gipo_cli.policies.policy import Policy, PolicySpec
from gipo_cli.policies.versions import Behaviour, VersionedPolicy
from gipo_cli.training.serialised import serialised


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint: named groups of tensors, and plain values."""

    path: Path
    step: int
    tensors: dict[str, dict[str, Tensor]]
    state: dict[str, Any]
    warnings: list[str] = field(default_factory=list)  # newer checkpoints that were not whole


def save(run: Path, step: int, tensors: dict[str, dict[str, Tensor]], state: dict[str, Any]) -> Path:
    """Write checkpoints/step-XXXXXXXX, as `checkpoint_files.write`. The bytes depend on the content only.

    Args:
        run: the run directory.
        step: updates done.
        tensors: group -> name -> tensor; each group becomes GROUP.safetensors.
        state: plain values for state.json.

    Returns:
        The checkpoint's directory.
    """
    files = {f"{group}.safetensors": serialised(members) for group, members in tensors.items()}
    text = json.dumps({"step": step, **state}, indent=1, sort_keys=True, allow_nan=False)
    return write(run, step, {**files, STATE: (text + "\n").encode()})


def load(path: Path) -> Checkpoint:
    """Read one checkpoint.

    Raises:
        RunError: it is missing or not whole.
    """
    if not path.is_dir():
        raise RunError(f"there is no checkpoint {path}.")
    if not is_whole(path):
        raise RunError(
            f"the checkpoint {path} is damaged: a file differs from its {MANIFEST}.",
            "Use an older one in the same directory.",
        )
    try:
        state = json.loads((path / STATE).read_text(encoding="utf-8"))
        listed = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        files = sorted(path / name for name in listed if name.endswith(".safetensors"))
        tensors = {file.stem: load_file(file) for file in files}
        return Checkpoint(path, int(state["step"]), tensors, state)
    except (OSError, ValueError, TypeError, KeyError, SafetensorError) as error:
        raise RunError(f"the checkpoint {path} cannot be read ({error}).") from error


def load_latest(run: Path) -> Checkpoint | None:
    """The newest whole checkpoint of a run; none where there is not one. Nothing is deleted on the way."""
    newest, warnings = find_latest(run)
    if newest is None:
        return None
    checkpoint = load(newest)
    checkpoint.warnings.extend(warnings)
    return checkpoint


def policy_of(checkpoint: Checkpoint) -> Policy:
    """The policy that a checkpoint holds.

    Raises:
        RunError: it holds none, or one that does not fit its own description.
    """
    try:
        policy = Policy(PolicySpec.from_dict(checkpoint.state["policy_spec"]))
        policy.load_state_dict(checkpoint.tensors["policy"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise RunError(f"the checkpoint {checkpoint.path} holds no readable policy ({error}).") from error
    return policy


def behaviour_to_tensors(beta: Behaviour) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What stands for the behaviour policy: its tensors, and what is needed to build it."""
    versions = beta.versions if isinstance(beta, VersionedPolicy) else None
    return dict(beta.state_dict()), {"spec": beta.spec.to_dict(), "versions": versions}


def behaviour_of(checkpoint: Checkpoint) -> Behaviour | None:
    """What stands for the behaviour policy, where the checkpoint keeps it: where values are computed more than once."""
    described = checkpoint.state.get("beta")
    if described is None:
        return None
    spec = PolicySpec.from_dict(described["spec"])
    beta = Policy(spec) if described["versions"] is None else VersionedPolicy(spec, described["versions"])
    beta.load_state_dict(checkpoint.tensors["beta"])
    return beta


def optimizer_to_tensors(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """Adam's state as named tensors, and its settings as plain values; parameters are numbered in order."""
    state = optimizer.state_dict()
    tensors = {f"{n}.{name}": value for n, slots in state["state"].items() for name, value in slots.items()}
    groups = [
        {name: value.item() if isinstance(value, Tensor) else value for name, value in group.items()}
        for group in state["param_groups"]
    ]
    return tensors, groups


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put Adam's state back; the optimizer must have been made for the same parameters in the same order."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, _, name = key.partition(".")
        state.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
