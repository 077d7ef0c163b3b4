"""`gipo datasets fetch`: a published log, downloaded and checked."""

from pathlib import Path
from typing import Annotated

import typer


def datasets_fetch(
    name: Annotated[str, typer.Argument(help="d4rl:hopper-medium-v2 and its like, or minari:ID.")],
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="FILE", help="Import a file downloaded by hand.", show_default=False),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON document.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print no progress.")] = False,
) -> None:
    """Download a published log; one that broke off goes on. Then its name works wherever a log is asked for."""
    from gipo_cli.errors import SettingError
    from gipo_cli.rendering import terminal

    if name.startswith("minari:"):
        if source is not None:
            raise SettingError(
                f"--from takes a file of D4RL's; {name} is a directory.",
                "Copy it below Minari's root, then use its name.",
            )
        place, checked = _from_minari(name.removeprefix("minari:")), None
    else:
        place, checked = _from_d4rl(name, source, quiet)
    files = [file for file in place.rglob("*") if file.is_file()] if place.is_dir() else [place]
    summary = {
        "name": name,
        "place": str(place),
        "bytes": sum(file.stat().st_size for file in files),
        "sha256": checked,
    }
    if json:
        terminal.json_document(summary)
    else:
        terminal.pairs(["fetched", name], [[key, value] for key, value in summary.items() if key != "name"])


def _from_minari(identifier: str) -> Path:
    from gipo_cli.data.minari_download import download

    return download(identifier)


def _from_d4rl(name: str, source: Path | None, quiet: bool) -> tuple[Path, str]:
    from contextlib import nullcontext

    from gipo_cli.data.fetching import fetch, import_file, is_whole
    from gipo_cli.data.remotes import remote_named
    from gipo_cli.rendering import terminal

    remote = remote_named(name)
    if source is not None:
        return import_file(source, remote), remote.sha256
    if is_whole(remote.place, remote):
        terminal.note(f"{name} is there already, and whole.")
        return remote.place, remote.sha256
    if not quiet:
        terminal.note(f"fetching {remote.url}, {remote.size:,} bytes")
    with nullcontext(lambda n=1: None) if quiet else terminal.progress("fetching", remote.size) as advance:
        return fetch(remote, advance), remote.sha256
