"""`gipo datasets info`: what one log holds."""

from typing import Annotated, Any

import typer


def datasets_info(
    dataset: Annotated[str, typer.Argument(help="A catalog name, a path, or minari:ID.", show_default=False)],
    json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """Show what a log holds, and what is doubtful about it."""
    from gipo_cli.logs import open_log
    from gipo_cli.rendering import terminal

    opened = open_log(dataset)
    log, findings = opened.log, opened.findings
    document: dict[str, Any] = {
        "name": log.name,
        "source": log.source,
        "fingerprint": log.fingerprint,
        "environment": log.environment,
        "transitions": log.transitions,
        "episodes": log.episodes,
        "observation_shape": list(log.observations.shape[1:]),
        "actions": f"{log.action_space.n} choices" if log.action_space.is_discrete else list(log.actions.shape[1:]),
        "returns": _spread(log.episode_returns),
        "lengths": _spread(log.episode_lengths),
        "terminated": int(log.terminated.sum()),
        "truncated": int(log.truncated.sum()),
        "log_probs": {
            "origin": log.log_probs_origin,
            "convention": log.convention,
            **_spread(log.behaviour_log_probs),
        },
        "pre_squash_actions": log.pre_squash_actions is not None,
        "behaviour_weights": log.behaviour_weights is not None,
        "attributes": _attributes(log.source),
        "notes": list(log.notes),
        "warnings": [finding.meaning for finding in findings],
    }
    if json:
        terminal.json_document(document)
        return
    terminal.table("", ["log", log.name], [[key, _shown(value)] for key, value in document.items() if key != "name"])


def _spread(column: Any) -> dict[str, float]:
    return {name: float(getattr(column, name)()) for name in ("mean", "std", "min", "max")}


def _attributes(source: str) -> dict[str, Any]:
    """What the file says of its own making; nothing where it is not one file."""
    from pathlib import Path

    from gipo_cli.data.hdf5 import attribute, is_hdf5, open_safely

    if not is_hdf5(Path(source)):
        return {}
    with open_safely(Path(source)) as file:
        return {name: attribute(file, name) for name in sorted(file.attrs)}


def _shown(value: Any) -> str:
    from gipo_cli.rendering.terminal import cell_text

    if isinstance(value, dict):
        return ", ".join(f"{key} {cell_text(item)}" for key, item in value.items()) or "–"
    if isinstance(value, list):
        return ", ".join(map(cell_text, value)) or "–"
    return cell_text(value)
