"""Checkpoints: written so that a kill at any instant leaves the old one or the new one, never half of either."""

import json
import os
import shutil
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from gipo_cli.errors import RunError
from gipo_cli.policies.policy import Policy, PolicySpec
from gipo_cli.policies.versions import Behaviour, VersionedPolicy
from gipo_cli.runs import atomic_write, sync_directory

MANIFEST = "MANIFEST.json"
LATEST = "latest"


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint: named groups of tensors, and plain values."""

    path: Path
    step: int
    tensors: dict[str, dict[str, Tensor]]
    state: dict[str, Any]
    warnings: list[str] = field(default_factory=list)  # newer checkpoints that were not whole


def save(run: Path, step: int, tensors: dict[str, dict[str, Tensor]], state: dict[str, Any]) -> Path:
    """Write checkpoints/step-XXXXXXXX: files, then their manifest, then the rename that makes it visible.

    A step that is there and whole is left alone. The bytes depend on the content only.

    Args:
        run: the run directory.
        step: updates done.
        tensors: group -> name -> tensor; each group becomes GROUP.safetensors.
        state: plain values for state.json.

    Returns:
        The checkpoint's directory.
    """
    final = run / "checkpoints" / f"step-{step:08d}"
    if final.exists():
        if is_whole(final):
            atomic_write(run / LATEST, f"{final.name}\n".encode())  # a kill may have come before it was written
            return final
        # A damaged one keeps its bytes for whoever wants to look, under a name no reader asks for.
        kept = len(list(final.parent.glob(f".damaged-{final.name}-*")))
        os.rename(final, final.with_name(f".damaged-{final.name}-{kept}"))
    aside = final.with_name(f".tmp-{step}-{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    for group, members in tensors.items():
        save_file({name: t.detach().cpu().contiguous() for name, t in members.items()}, aside / f"{group}.safetensors")
    text = json.dumps({"step": step, **state}, indent=1, sort_keys=True, allow_nan=False)
    (aside / "state.json").write_text(text + "\n", encoding="utf-8")
    manifest = {path.name: _seal(path) for path in sorted(aside.iterdir())}
    atomic_write(aside / MANIFEST, (json.dumps(manifest, indent=1, sort_keys=True) + "\n").encode())
    os.rename(aside, final)
    sync_directory(final.parent)
    atomic_write(run / LATEST, f"{final.name}\n".encode())
    return final


def _seal(path: Path) -> dict[str, Any]:
    """Push a file to the disk, and say what it holds."""
    with path.open("rb+") as file:
        content = file.read()
        os.fsync(file.fileno())
    return {"sha256": sha256(content).hexdigest(), "size": len(content)}


def is_whole(path: Path) -> bool:
    """Whether every file of a checkpoint is there with the bytes that its manifest names."""
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        return "state.json" in manifest and all(
            "/" not in name and sha256((path / name).read_bytes()).hexdigest() == entry["sha256"]
            for name, entry in manifest.items()
        )
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return False


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
        state = json.loads((path / "state.json").read_text(encoding="utf-8"))
        listed = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        files = sorted(path / name for name in listed if name.endswith(".safetensors"))
        tensors = {file.stem: load_file(file) for file in files}
        return Checkpoint(path, int(state["step"]), tensors, state)
    except (OSError, ValueError, TypeError, KeyError, SafetensorError) as error:
        raise RunError(f"the checkpoint {path} cannot be read ({error}).") from error


def load_latest(run: Path) -> Checkpoint | None:
    """The newest whole checkpoint of a run; none where there is not one. Nothing is deleted on the way."""
    warnings = []
    for path in sorted((run / "checkpoints").glob("step-*"), reverse=True):
        if is_whole(path):
            checkpoint = load(path)
            checkpoint.warnings.extend(warnings)
            return checkpoint
        warnings.append(f"{path} is damaged; falling back to an older checkpoint.")
    return None


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
    return tensors, state["param_groups"]


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put Adam's state back; the optimizer must have been made for the same parameters in the same order."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        number, _, name = key.partition(".")
        state.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
