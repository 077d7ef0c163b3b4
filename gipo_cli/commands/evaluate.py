"""`gipo evaluate`: what a run's policy earns in the environment, beside the behaviour policy."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gipo_cli.errors import RunError, SettingError

if TYPE_CHECKING:
    from gipo_cli.evaluation.rollouts import Returns
    from gipo_cli.policies.policy import Policy
    from gipo_cli.runs import RunDirectory


def evaluate(
    run: Annotated[Path, typer.Argument(help="Run directory.", show_default=False)],
    episodes: Annotated[int, typer.Option(min=1, help="Of each policy, in each mode.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Of starts and of the policies' noise.")] = 0,
    environment: Annotated[
        str | None, typer.Option(help="Gymnasium's name; needed where the log names none.", show_default=False)
    ] = None,
    step: Annotated[
        int | None, typer.Option(help="Evaluate the checkpoint of this step. (default: the newest)")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print no progress.")] = False,
) -> None:
    """Roll out a run's policy and the behaviour policy in the environment of the log."""
    from contextlib import nullcontext

    import torch

    from gipo_cli.evaluation.environments import make_environments
    from gipo_cli.evaluation.rollouts import SIDE_BY_SIDE, rollout
    from gipo_cli.policies.weights import load_policy
    from gipo_cli.rendering import terminal
    from gipo_cli.runs import RunDirectory

    torch.set_num_threads(1)
    place = RunDirectory.open(run)
    environment_id = environment or _environment_of(place)
    policies = {"policy": _policy(place, step)}
    if (run / "behaviour.safetensors").is_file():
        policies["behaviour"] = load_policy(run / "behaviour.safetensors")[0]
    made = make_environments(environment_id, min(episodes, SIDE_BY_SIDE))
    jobs = [(name, mode) for name in policies for mode in ("stochastic", "deterministic")]
    found: dict[tuple[str, str], Returns] = {}
    watched = nullcontext(lambda n=1: None) if quiet else terminal.progress("episodes", len(jobs) * episodes)
    with watched as advance:
        for name, mode in jobs:
            stochastic = mode == "stochastic"
            found[name, mode] = rollout(
                policies[name], made, episodes, seed=seed, stochastic=stochastic, on_episode=advance
            )
    document = _document(run, environment_id, found)
    if json:
        terminal.json_document(document)
    else:
        _print(document)


def _environment_of(run: "RunDirectory") -> str:
    named = run.record().get("dataset", {}).get("environment")
    if not named:
        raise SettingError(
            f"the log of {run.path} names no environment.",
            f"Name it: gipo evaluate {run.path} --environment Hopper-v5",
        )
    return str(named)


def _policy(run: "RunDirectory", step: int | None) -> "Policy":
    from gipo_cli.rendering import terminal
    from gipo_cli.training import checkpoints

    if step is not None:
        return checkpoints.policy_of(checkpoints.load(run.path / "checkpoints" / f"step-{step:08d}"))
    checkpoint = checkpoints.load_latest(run.path)
    if checkpoint is None:
        raise RunError(f"{run.path} has no whole checkpoint yet.", f"Continue it with: gipo train --resume {run.path}")
    for warning in checkpoint.warnings:
        terminal.note(f"warning: {warning}")
    return checkpoints.policy_of(checkpoint)


def _document(run: Path, environment_id: str, found: "dict[tuple[str, str], Returns]") -> dict[str, Any]:
    from gipo_cli.evaluation.intervals import difference_of_means
    from gipo_cli.evaluation.scores import score

    def figures(name: str) -> dict[str, Any] | None:
        if (name, "stochastic") not in found:
            return None
        return {
            mode: {
                "mean": returns.mean,
                "standard_error": returns.standard_error,
                "episodes": len(returns.returns),
                "score": score(environment_id, returns.mean),
                "mean_length": float(returns.lengths.mean()),
            }
            for mode, returns in ((mode, found[name, mode]) for mode in ("stochastic", "deterministic"))
        }

    gain = None
    if ("behaviour", "stochastic") in found:
        gain = difference_of_means(found["policy", "stochastic"].returns, found["behaviour", "stochastic"].returns)
    return {
        "run": str(run),
        "environment": environment_id,
        "policy": figures("policy"),
        "behaviour": figures("behaviour"),
        "gain": gain,
    }


def _print(document: dict[str, Any]) -> None:
    from gipo_cli.rendering import terminal

    rows = []
    for name in ("policy", "behaviour"):
        for mode, found in (document[name] or {}).items():
            error = found["standard_error"]
            points = found["score"]
            rows.append([
                name, mode, f"{found['mean']:,.0f}" + ("" if error is None else f" ± {error:,.0f}"),
                "–" if points is None else f"{points:.1f}", f"{found['mean_length']:,.0f}", str(found["episodes"]),
            ])  # fmt: skip
    terminal.table(
        f"{document['environment']}: mean return ± standard error",
        ["", "actions", "return", "D4RL score", "length", "episodes"],
        rows,
    )
    gain = document["gain"]
    if gain is None:
        terminal.line("The log carries no behaviour policy to compare with.")
    elif gain["lower"] is not None:
        word = "better" if gain["lower"] > 0 else "worse" if gain["upper"] < 0 else "no difference that can be seen"
        interval = f"{gain['mean']:+,.0f}, 95 % interval {gain['lower']:+,.0f} to {gain['upper']:+,.0f}"
        terminal.line("Gain over behaviour, sampled actions: ", (interval, "bold"), f" ({word})")
