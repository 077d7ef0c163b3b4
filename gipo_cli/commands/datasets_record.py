"""`gipo datasets record`: a log from policies that act."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gipo_cli.errors import SettingError

if TYPE_CHECKING:
    from gipo_cli.data.recording import Behaviour


def datasets_record(
    out: Annotated[str, typer.Option(help="New place, in the format of its suffix; never overwritten.")],
    format_name: Annotated[
        str, typer.Option("--format", help="d4rl, minari, npz or parquet; from the suffix of --out unless given.")
    ] = "",
    policy: Annotated[
        list[str] | None,
        typer.Option(
            help="A run, a checkpoint, a .safetensors policy, a .zip of Stable-Baselines3 (PPO, A2C, SAC; acts on raw "
            "observations, without VecNormalize's statistics), or the word random. Given several times: each records "
            "its share.",
            show_default=False,
        ),
    ] = None,
    policies: Annotated[
        str | None,
        typer.Option(
            metavar="DIR_OR_GLOB",
            help="Several policies, in the order of the numbers in their names; of a run, its checkpoints.",
            show_default=False,
        ),
    ] = None,
    environment: Annotated[
        str | None, typer.Option(help="Gymnasium's name, such as Hopper-v5; else the one the policy names.")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="At least so many; episodes are finished.")] = 200_000,
    environments: Annotated[int, typer.Option(min=1, max=1024, help="Stepped side by side.")] = 16,
    seed: Annotated[int, typer.Option(min=0, help="Of the policies' noise and of every reset.")] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON document.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print no progress.")] = False,
) -> None:
    """Record a log with exact log-probabilities from policies acting in an environment."""
    from contextlib import nullcontext

    from gipo_cli.data.recording import origin_of, record
    from gipo_cli.data.saving import Destination
    from gipo_cli.evaluation.environments import make_environments
    from gipo_cli.rendering import terminal

    destination = Destination(out, format_name)
    places = [*(policy or ()), *(_sorted_policies(policies) if policies else ())]
    if not places:
        raise SettingError("no policy was named.", "Name one: --policy POLICY.safetensors, or --policy random.")
    environment_id = environment or _environment_of(places)
    loaded = {place: _load(place) for place in places if place != "random"}
    made = make_environments(environment_id, environments, named_by_user=environment is not None)
    behaviours = [loaded[place] if place in loaded else _random(made[0], environment_id) for place in places]
    with nullcontext(lambda n=1: None) if quiet else terminal.progress("recording", steps) as advance:
        log = record(
            [behaviour.policy for behaviour in behaviours], made, name=destination.path.stem,
            environment_id=environment_id, steps=steps, seed=seed, on_steps=advance,
        )  # fmt: skip
    destination.save(log, origin_of(behaviours, seed=seed, environments=environments))
    returns = log.episode_returns
    summary: dict[str, Any] = {
        "file": str(destination.path),
        "fingerprint": log.fingerprint,
        "transitions": log.transitions,
        "episodes": log.episodes,
        "policies": len(behaviours),
        "convention": log.convention,
        "mean_return": float(returns.mean()),
        "standard_error": float(returns.std(ddof=1) / len(returns) ** 0.5) if len(returns) > 1 else None,
        "log_prob_min": float(log.behaviour_log_probs.min()),
        "log_prob_max": float(log.behaviour_log_probs.max()),
        "format": destination.format,
        "bytes": destination.bytes,
    }
    if json:
        terminal.json_document(summary)
    else:
        terminal.pairs(
            ["recorded", summary["file"]], [[name, value] for name, value in summary.items() if name != "file"]
        )


def _sorted_policies(named: str) -> list[str]:
    """The policies in a directory, of a run or of a glob, 9 before 10."""
    import glob

    from gipo_cli.training import saved_policies

    directory = Path(named, "checkpoints") if saved_policies.is_run(Path(named)) else Path(named)
    pattern = f"{glob.escape(str(directory))}/*" if directory.is_dir() else named
    found = [place for place in glob.glob(pattern) if saved_policies.is_policy(Path(place))]
    if not found:
        raise SettingError(f"--policies: {named} names no policy.", saved_policies.KINDS)
    return sorted(found, key=_natural)


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"([0-9]+)", name)]


def _load(place: str) -> "Behaviour":
    from gipo_cli.data.recording import Behaviour
    from gipo_cli.rendering import terminal
    from gipo_cli.training import saved_policies

    saved = saved_policies.load(Path(place))
    for warning in saved.warnings:
        terminal.note(f"warning: {warning}")
    return Behaviour(saved.policy, saved.name, saved.sha256, saved.metadata)


def _random(environment: Any, environment_id: str) -> "Behaviour":
    from gipo_cli.data.recording import Behaviour
    from gipo_cli.policies.uniform import UniformPolicy

    return Behaviour(UniformPolicy(environment, environment_id), "random")


def _environment_of(places: list[str]) -> str:
    """The environment that the first policy with one to its name was made for.

    Raises:
        SettingError: no policy says.
    """
    from gipo_cli.training import saved_policies

    for place in places:
        found = saved_policies.environment_of(Path(place)) if place != "random" else None
        if found:
            return found
    raise SettingError(f"{places[0]} does not say which environment it acts in.", "Name it: --environment Hopper-v5")
