"""Which runs an ensemble has: every seed with every sigma, each named for its directory; and what cannot be one."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gipo_cli.config import TrainConfig
from gipo_cli.errors import SettingError
from gipo_cli.settling import width_named

MOST = 512  # members; each holds a lock, and a process may hold some thousand files open
SHOWN = 4  # members of a list that a hint writes out

Settle = Callable[[list[tuple[str, Any]]], TrainConfig]  # names and values over what else was given


@dataclass(frozen=True)
class Planned:
    """A member before it trains."""

    name: str  # of its directory
    config: TrainConfig


def is_asked(seeds: str | None, sigma: str | None) -> bool:
    """Whether a command names several runs."""
    return seeds is not None or "," in (sigma or "")


def refuse_beside(flags: dict[str, Any], in_ranks: bool) -> None:
    """Refuse what is of one run, among flags by name, and several processes.

    Raises:
        SettingError: names the first that was given.
    """
    if in_ranks:
        raise SettingError("members are trained by one process, and torchrun started several.", "Leave torchrun out.")
    for name, value in flags.items():
        if value is not None:
            raise SettingError(
                f"--{name} is for one run, and --seeds and a list of --sigma are for several.",
                "Leave one of them out. One member alone is a run like any other: gipo train --resume DIR/MEMBER.",
            )


def required(out: Path | None) -> Path:
    """The directory that members lie in.

    Raises:
        SettingError: none was given.
    """
    if out is None:
        raise SettingError(
            "--seeds and a list of --sigma want --out, a directory for those of the members.",
            "Name one, as in --out runs/ensemble.",
        )
    return out


def plan(seeds: str | None, sigma: str | None, settle: Settle) -> list[Planned]:
    """The members, seed by seed; sigma is part of their names where it was given.

    Args:
        seeds: as in "0-7" or "0,2,5-9"; the one of the settings where none.
        sigma: a width, auto, or several, comma-separated; that of the settings where none.
        settle: makes the configuration of a member.

    Raises:
        SettingError: a list is none, or names a member twice, or more than MOST.
    """
    numbers = [None] if seeds is None else _seeds(seeds)
    widths = [None] if sigma is None else _widths(sigma)
    _refuse_too_many(f"{len(numbers)} seeds with {len(widths)} sigmas", len(numbers) * len(widths))
    members = []
    for number in numbers:
        for width in widths:
            config = settle(
                [*([] if number is None else [("seed", number)]), *([] if width is None else [width_named(width)])]
            )
            name = f"seed-{config.seed}" + ("" if width is None else f"-sigma-{width}")
            members.append(Planned(name, config))
    return members


def _seeds(given: str) -> list[int]:
    found: list[int] = []
    for part in given.split(","):
        ends = re.fullmatch(r"\s*(\d{1,19})(?:-(\d{1,19}))?\s*", part)
        if ends is None:
            raise SettingError(
                f"--seeds {given!r}: {part!r} is no seed.", "Write it as in --seeds 0-7 or --seeds 0,2,5-9."
            )
        first, last = int(ends[1]), int(ends[2] or ends[1])
        if last < first:
            raise SettingError(f"--seeds {given!r}: {part.strip()} counts down.", f"Did you mean {last}-{first}?")
        _refuse_too_many(f"--seeds {given!r}", len(found) + last - first + 1)
        found += range(first, last + 1)
    _refuse_twice("seeds", given, found)
    return found


def _widths(given: str) -> list[str]:
    """Each as it is written shortest, so that 1 and 1.0 are one; what is no number is left for the objective to say."""
    found = []
    for part in given.split(","):
        text = part.strip()
        try:
            text = text if text == "auto" else _shortest(float(text))
        except ValueError:
            if "," in given:
                raise SettingError(
                    f"--sigma {given!r}: {part!r} is no width.", "Write it as in --sigma 0.5,1,2."
                ) from None
        found.append(text)
    _refuse_twice("sigma", given, found)
    return found


def _shortest(number: float) -> str:
    text = f"{number:g}"
    return text if float(text) == number else repr(number)


def _refuse_too_many(what: str, members: int) -> None:
    if members > MOST:
        raise SettingError(
            f"{what} are {members:,} members; at most {MOST} are trained together.",
            "Give fewer, or have them trained one by one: gipo batch JOBS.toml.",
        )


def _refuse_twice(flag: str, given: str, found: Sequence[int | str]) -> None:
    twice = next((one for n, one in enumerate(found) if one in found[:n]), None)
    if twice is not None:
        raise SettingError(f"--{flag} {given!r} names {twice} twice.", "Name each once: every member has a directory.")


def require_together(members: Sequence[Planned], natural: bool) -> None:
    """Refuse settings with which an update of one member does not have the shape of another's.

    Args:
        members: of which all but seed and sigma is the same.
        natural: whether the objective takes the natural gradient's step.

    Raises:
        SettingError: says which setting, and that gipo batch trains such members one by one.
    """
    config, seeds = members[0].config, {member.config.seed for member in members}
    reasons = {
        f"patience={config.patience} ends each member at a step of its own": config.patience > 0,
        f"rounds={config.rounds} fits values anew for each as it moves": config.rounds > 1,
        "ratios=per-dimension has ratios of another shape": config.ratios == "per-dimension",
        f"ess_base={config.ess_base:g} gives each a learning rate of its own": config.ess_base > 0,
        f"the objective '{config.objective}' takes the natural gradient's step, a search of its own": natural,
        "--estimate-behaviour makes another log of this one for each seed": config.estimate_behaviour
        and len(seeds) > 1,
    }
    reason = next((text for text, holds in reasons.items() if holds), None)
    if reason is not None:
        raise SettingError(f"these members cannot be trained as one ensemble: {reason}.", _by_batch(members))


def require_one_size(members: Sequence[Planned], rows: Sequence[int]) -> None:
    """Refuse a log so small that the batches of some members are smaller than those of others.

    Args:
        members: of the ensemble.
        rows: that each trains on.

    Raises:
        SettingError: names the member with the fewest.
    """
    fewest, member = min(zip(rows, members, strict=True), key=lambda pair: pair[0])
    size = member.config.batch_size
    if len({min(size, found) for found in rows}) > 1:
        raise SettingError(
            f"these members cannot be trained as one ensemble: {member.name} trains on {fewest:,} rows, fewer than a "
            f"batch of {size:,}, and others on more.",
            f"Give --set batch_size={fewest} or less. Or: {_by_batch(members)}",
        )


def _by_batch(members: Sequence[Planned]) -> str:
    seeds = [*dict.fromkeys(member.config.seed for member in members)]
    shown = ", ".join(map(str, seeds[:SHOWN])) + (", ..." if len(seeds) > SHOWN else "")
    return f"gipo batch JOBS.toml trains them one by one, with seed = [{shown}] in the [matrix] of its file."
