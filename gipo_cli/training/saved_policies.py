"""A policy from wherever it was saved: a run, a checkpoint, a .safetensors file, a model of Stable-Baselines3."""

from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from gipo_cli.errors import DataError, RunError
from gipo_cli.policies.policy import Policy
from gipo_cli.policies.weights import load_policy
from gipo_cli.runs import RECORD, RunDirectory
from gipo_cli.training import checkpoints

KINDS = "Expected a run, a checkpoint, a .safetensors policy or a .zip of Stable-Baselines3."
SAVE_AS_ONE = "gipo_cli.collect.save_policy_of(model, 'policy.safetensors')"
PICKLED = (".pkl", ".pickle", ".pt", ".pth")


@dataclass(frozen=True)
class SavedPolicy:
    """A policy, and where it is from."""

    policy: Policy
    name: str
    sha256: str  # of the file that holds its weights
    metadata: dict[str, str] = field(default_factory=dict)  # what the file says of its making
    warnings: tuple[str, ...] = ()


def is_run(place: Path) -> bool:
    """Whether a place is a run."""
    return (place / RECORD).is_file()


def is_policy(place: Path) -> bool:
    """Whether a place has the looks of what `load` takes."""
    return place.suffix in (".safetensors", ".zip") or is_run(place) or (place / checkpoints.MANIFEST).is_file()


def load(place: Path) -> SavedPolicy:
    """The policy that is saved at `place`; a run gives that of its newest whole checkpoint.

    Raises:
        DataError: there is none, or it is damaged, a pickle, or of a kind that cannot be rebuilt.
        RunError: a run or a checkpoint is damaged.
    """
    if place.is_dir():
        return _of_checkpoint(place)
    if not place.exists():
        raise DataError(f"there is no policy {place}.", KINDS)
    if place.suffix in PICKLED:
        raise DataError(
            f"{place} is a pickle, which may hold any program and is never opened.",
            "Statistics of VecNormalize: load model and statistics in Python, where you trust them, and save the two "
            f"as one policy with\n{SAVE_AS_ONE}.",
        )
    digest = sha256(place.read_bytes()).hexdigest()
    if place.suffix == ".zip":
        from gipo_cli.policies.stable_baselines3 import load_zip

        policy, metadata = load_zip(place)
        return SavedPolicy(policy, place.name, digest, metadata, _standardised_elsewhere(place))
    policy, metadata = load_policy(place)
    return SavedPolicy(policy, place.name, digest, metadata)


def _standardised_elsewhere(model: Path) -> tuple[str, ...]:
    """A warning where VecNormalize's statistics lie beside a model, which does not say itself that it needs them."""
    beside = sorted(file.name for file in model.parent.glob("*.pkl") if "normalize" in file.name.lower())
    if not beside:
        return ()
    return (
        f"{beside[0]} lies beside {model}: a model trained behind VecNormalize expects standardised observations, "
        f"and here it acts on raw ones. Load both in Python and save them as one policy: {SAVE_AS_ONE}",
    )


def _of_checkpoint(place: Path) -> SavedPolicy:
    if (place / checkpoints.MANIFEST).exists():
        found = checkpoints.load(place)
    else:
        found = checkpoints.load_latest(place)
        if found is None:
            raise RunError(f"{place} holds no whole checkpoint.", KINDS)
    policy = checkpoints.policy_of(found)
    content = (found.path / "policy.safetensors").read_bytes()
    run = found.path.parent.parent.name
    return SavedPolicy(
        policy, f"{run}/{found.path.name}", sha256(content).hexdigest(),
        {"algorithm": "gipo", "steps": str(found.step)}, tuple(found.warnings),
    )  # fmt: skip


def environment_of(place: Path) -> str | None:
    """The environment that a policy file names, else the log of the run that it lies in; none where neither does."""
    named = load(place).metadata.get("environment") if not place.is_dir() else None
    return named or next((_environment_of_run(above) for above in _upwards(place) if is_run(above)), None)


def _upwards(place: Path) -> tuple[Path, ...]:
    """Where the run of a policy may be: at its place, around a file, around the checkpoints."""
    place = place.absolute()
    return place, place.parent, place.parent.parent


def _environment_of_run(run: Path) -> str | None:
    dataset = RunDirectory.open(run).record().get("dataset")
    found = dataset.get("environment") if isinstance(dataset, dict) else None
    return found if isinstance(found, str) else None
