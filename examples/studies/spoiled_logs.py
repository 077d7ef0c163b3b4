"""Spoil log-probs in every way we have met, on logs of every kind, and see what `gipo datasets check` says.

    python examples/studies/spoiled_logs.py > examples/studies/spoiled-logs.md

Takes half an hour on one core beside other work, and needs gipo[mujoco]: the walker2d log and the random one are
recorded on first use. `tests/data/test_spoiled_logs.py` runs a part of it.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from gipo_cli.data import catalog
from gipo_cli.data.checks import check
from gipo_cli.data.checks.reference import Reference
from gipo_cli.data.checks.sample import draw
from gipo_cli.data.log_prob_errors import log_jacobian
from gipo_cli.data.selection import concatenate, take_episodes
from gipo_cli.data.trajectories import Trajectories
from gipo_cli.policies.weights import policy_from_weights

Spoil = Callable[[Trajectories, Trajectories], Trajectories | None]


def with_values(log: Trajectories, values: np.ndarray) -> Trajectories:
    return replace(log, behaviour_log_probs=values)


def shifted(log: Trajectories, rows: int) -> Trajectories | None:
    """Within episodes, as a recorder does that is a step late or early; what it has not yet is a copy."""
    values = log.behaviour_log_probs
    if np.ptp(values) == 0:
        return None
    order = np.arange(len(values)) - rows
    starts, ends = (
        np.repeat(log.episode_starts[:-1], log.episode_lengths),
        np.repeat(log.episode_starts[1:], log.episode_lengths),
    )
    return with_values(log, values[np.clip(order, starts, ends - 1)])


def without_jacobian(log: Trajectories, whole: Trajectories) -> Trajectories | None:
    if log.convention != "tanh_gaussian":
        return None
    u = log.pre_squash_actions
    if u is None:
        u = np.arctanh(np.clip(log.actions.astype(np.float64), -1 + 2**-24, 1 - 2**-24))
    return with_values(log, log.behaviour_log_probs + log_jacobian(u))


def in_other_units(log: Trajectories, whole: Trajectories) -> Trajectories | None:
    """The density of an action of [-2, 2], while the action in [-1, 1] was stored."""
    if log.action_space.is_discrete:
        return None
    size = log.actions.shape[1]
    space = replace(log.action_space, low=np.full(size, -2, np.float32), high=np.full(size, 2, np.float32))
    return replace(log, action_space=space, behaviour_log_probs=log.behaviour_log_probs - size * np.log(2))


def at_temperature(temperature: float) -> Spoil:
    """The log-probs of a policy that is wider or narrower than the one that acted."""

    def spoil(log: Trajectories, whole: Trajectories) -> Trajectories | None:
        if whole.behaviour_weights is None:
            return None
        everything = draw(whole, 2**62)
        policy = policy_from_weights(whole.behaviour_weights, whole.name)
        values = Reference(policy, everything.observations, everything).log_prob(temperature)
        return with_values(log, values)

    return spoil


def clipped(log: Trajectories, whole: Trajectories) -> Trajectories | None:
    if log.convention != "gaussian" or np.abs(log.actions).max() <= 1:
        return None
    return replace(log, actions=np.clip(log.actions, -1, 1))


def one_a_dimension(log: Trajectories, whole: Trajectories) -> Trajectories | None:
    if log.action_space.is_discrete:
        return None
    size = log.actions.shape[1]
    return with_values(log, np.repeat(log.behaviour_log_probs[:, None] / size, size, 1))


def of_several_policies(log: Trajectories, whole: Trajectories) -> Trajectories | None:
    """Half the episodes are those of other policies of the same environment, and no version says so."""
    if log.environment != "Hopper-v5" or whole.behaviour_weights is None:
        return None
    replay = catalog.load("hopper-medium-replay")
    early = np.flatnonzero(replay.policy_versions[replay.episode_starts[:-1]] < 6)[::20]
    others = replace(take_episodes(replay, early), policy_versions=None, behaviour_weights=log.behaviour_weights)
    if log.pre_squash_actions is None:
        others = replace(others, pre_squash_actions=None)
    few = np.flatnonzero(np.cumsum(log.episode_lengths) < others.transitions)
    return concatenate([take_episodes(log, few), others], log.name)


def constant(value: float) -> Spoil:
    return lambda log, whole: with_values(log, np.full(log.transitions, value))


# name -> what spoils a log, and what the checks have to say of it
SPOILAGES: dict[str, tuple[Spoil, list[str]]] = {
    "nothing": (lambda log, whole: log, []),
    "probabilities": (lambda log, whole: with_values(log, np.exp(log.behaviour_log_probs)), ["probabilities"]),
    "base 2": (lambda log, whole: with_values(log, log.behaviour_log_probs / np.log(2)), ["base-2"]),
    "base 10": (lambda log, whole: with_values(log, log.behaviour_log_probs / np.log(10)), ["base-10"]),
    "sign flipped": (lambda log, whole: with_values(log, -log.behaviour_log_probs), ["sign-flipped"]),
    "a step late": (lambda log, whole: shifted(log, 1), ["late-by-one-step"]),
    "a step early": (lambda log, whole: shifted(log, -1), ["early-by-one-step"]),
    "no squashing Jacobian": (without_jacobian, ["no-squash-jacobian"]),
    "action-scale Jacobian": (in_other_units, ["action-scale-jacobian"]),
    "temperature 0.5": (at_temperature(0.5), ["temperature"]),
    "temperature 1.5": (at_temperature(1.5), ["temperature"]),
    "temperature 2": (at_temperature(2.0), ["temperature"]),
    "clipped actions": (clipped, ["clipped-actions"]),
    "placeholder -1": (constant(-1.0), ["constant-log-probs"]),
    "placeholder 0": (constant(0.0), ["constant-log-probs"]),
    "one a dimension": (one_a_dimension, ["per-dimension"]),
    "several policies": (of_several_policies, ["several-policies"]),
    "late and base 10": (
        lambda log, whole: None if (late := shifted(log, 1)) is None
        else with_values(late, late.behaviour_log_probs / np.log(10)),
        ["late-by-one-step", "base-10"],
    ),
}  # fmt: skip


def kinds() -> dict[str, tuple[Trajectories, Trajectories]]:
    """Logs of every kind, each with the log that has its policy's weights, where there is one."""
    found: dict[str, tuple[Trajectories, Trajectories]] = {}
    for kind, name in (("squashed", "hopper-medium"), ("gaussian", "walker2d-medium"), ("choices", "cartpole-medium")):
        whole = catalog.load(name)
        found[f"{kind}, with its policy"] = whole, whole
        found[f"{kind}, alone"] = replace(whole, behaviour_weights=None), whole
    squashed = found["squashed, alone"]
    found["squashed, alone, no pre-squash actions"] = replace(squashed[0], pre_squash_actions=None), squashed[1]
    replay, random = catalog.load("hopper-medium-replay"), catalog.load("hopper-random")
    found["replay, with versions"] = replay, replay
    found["replay, without"] = replace(replay, policy_versions=None), replay
    found["uniform"] = random, random
    return found


def reported(log: Trajectories) -> list[tuple[str, str, float]]:
    """Name, severity and value of each finding that is not an `ok`."""
    return [(f.name, f.severity, f.value) for f in check(log) if f.severity != "ok"]


def main() -> None:
    """Print the matrix as Markdown."""
    logs, right, of = kinds(), 0, 0
    print("# What the checks say of spoiled logs\n")
    print("`python examples/studies/spoiled_logs.py`; *alone* is without the policy's weights, where a clone judges.")
    print("**Bold** is not what was done to the log; a dash means that it cannot be done to this kind.\n")
    print("| spoiled by | " + " | ".join(logs) + " |")
    print("|---" * (len(logs) + 1) + "|", flush=True)
    for name, (spoil, expected) in SPOILAGES.items():
        cells = []
        for kind, (log, whole) in logs.items():
            spoiled = spoil(log, whole)
            if spoiled is None:
                cells.append("–")
                continue
            found = reported(spoiled)
            known = ["several-policies"] if kind == "replay, without" else []
            # What is true of a log beside what was done to it: many policies, actions that tanh rounded.
            names = [n for n, _, _ in found if n not in (*known, "saturated-actions")]
            # A column of one value says nothing of what was done to it but that it is not the uniform density.
            good = names == expected or (kind == "uniform" and names == ["constant-log-probs"])
            right, of = right + good, of + 1
            text = ", ".join(f"{n} ({value:.3g})" for n, _, value in found) or "nothing"
            cells.append(text if good else f"**{text}**")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
    print(f"\n{right} of {of} as they should be.")


if __name__ == "__main__":
    main()
