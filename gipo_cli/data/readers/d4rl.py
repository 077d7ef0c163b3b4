"""D4RL's HDF5 layout: flat columns of all episodes laid end to end, with the quirks of its releases."""

import re
from pathlib import Path
from typing import Any, cast

import h5py
import numpy as np

from gipo_cli.data.description import require_size
from gipo_cli.data.flat import FlatLog, to_trajectories
from gipo_cli.data.hdf5 import attribute, column_of, is_hdf5, member, open_safely, read_column, read_text, type_of
from gipo_cli.data.log_probs import DISCRETE, gaussian_log_probs, log_prob_key, what_there_is
from gipo_cli.data.options import ReadOptions
from gipo_cli.data.readers import Reader
from gipo_cli.data.trajectories import CONVENTIONS, BehaviourWeights, Convention, Trajectories
from gipo_cli.errors import DataError

D4RL_LOG_STD_BOUNDS = (-20.0, 2.0)  # of rlkit's SAC policy, which made D4RL's own files
NUMBER = re.compile(r"[0-9]{1,9}")  # of choices
LOG_STD_KEYS = ("infos/action_log_std", "infos/action_logstd")  # of Adroit v1, of v0
NAMES = {
    "pre_squash_actions": "infos/pre_squash_actions", "executed_actions": "infos/executed_actions",
    "policy_versions": "infos/policy_versions", "final_observations": "metadata/final_observations",
    "action_low": "metadata/action_low", "action_high": "metadata/action_high",
}  # fmt: skip


def read(place: Path, name: str, options: ReadOptions) -> Trajectories:
    """Read a log in D4RL's layout.

    Episodes end where a row is terminal or timed out, or where the next observation is not the row after. Beyond D4RL:
    `metadata/final_observations` [E, O], `infos/pre_squash_actions` and `infos/executed_actions` are used where they
    are there. Adroit's experts have the mean and log standard deviation of each step's Gaussian in place of its
    log-prob, which is computed from them.

    Raises:
        DataError: the file is damaged or hostile, or lacks a column that GIPO needs.
    """
    with open_safely(place) as file:
        notes: list[str] = []
        weights = _behaviour_weights(file, notes)
        declared = weights.output_distribution if weights else attribute(file, "output_distribution")
        choices, origin = attribute(file, "action_choices"), attribute(file, "log_probs_origin")
        repairs = attribute(file, "repairs")
        held = [*file, *(f"infos/{name}" for name in member(file, "infos") or ())]
        key = log_prob_key(options, lambda name: member(file, name) is not None, ("infos/", ""), place, held)
        actions = _column(file, "actions")
        flags = actions.dtype == bool
        actions = actions.astype(np.int64) if flags else actions
        log_probs = read_column(file, key) if key else _of_recorded_gaussians(file, actions, options, notes)
        if log_probs is None:
            notes.append(what_there_is("infos", member(file, "infos")))
        elif not key:
            declared = "gaussian"
        told = _choices(choices)
        if "action_choices" in file.attrs and told is None:
            notes.append("its attribute action_choices cannot be read; the choices are those that were made.")
        flat = FlatLog(
            place=place,
            name=name,
            observations=_column(file, "observations"),
            actions=actions,
            rewards=_column(file, "rewards"),
            log_probs=log_probs,
            terminals=_column(file, "terminals"),
            timeouts=read_column(file, "timeouts"),
            next_observations=column_of(file, "next_observations"),
            final_observations=read_column(file, "metadata/final_observations"),
            pre_squash_actions=read_column(file, "infos/pre_squash_actions"),
            executed_actions=read_column(file, "infos/executed_actions"),
            policy_versions=read_column(file, "infos/policy_versions"),
            declared_convention=options.log_prob_convention or cast(Any, declared),
            choices=told or ([2] * (actions[:1].size if len(actions) else 1) if flags else None),
            action_low=read_column(file, "metadata/action_low"),
            action_high=read_column(file, "metadata/action_high"),
            environment=_environment(file),
            behaviour_weights=weights,
            log_probs_origin=origin if origin in ("recomputed", "estimated") else "recorded",
            repairs=tuple(repairs.split(",")) if isinstance(repairs, str) and repairs else (),
            notes=notes,
            names=NAMES | {"log_probs": key or ""},
        )
        # The file has to be open: next observations are read by slices, once.
        return to_trajectories(flat)


def _column(file: h5py.File, key: str) -> np.ndarray:
    column = read_column(file, key)
    if column is None:
        raise DataError(
            f"{file.filename} has no column '{key}'.", f"It holds: {', '.join(sorted(map(str, file))) or 'nothing'}."
        )
    return column


def _environment(file: h5py.File) -> str | None:
    for name in ("env_id", "environment", "env"):
        value = attribute(file, name)
        if isinstance(value, str):
            return value
    return None


def _of_recorded_gaussians(
    file: h5py.File, actions: np.ndarray, options: ReadOptions, notes: list[str]
) -> np.ndarray | None:
    """Log-probs of a file that has the mean and log standard deviation of every step's action in their place."""
    mean = read_column(file, "infos/action_mean")
    key = next((key for key in LOG_STD_KEYS if member(file, key) is not None), None)
    log_std = read_column(file, key) if key else None
    if mean is None or log_std is None or actions.dtype.kind != "f":
        return None
    for name, column in (("infos/action_mean", mean), (key, log_std)):
        if column.shape != actions.shape or actions.ndim != 2:
            raise DataError(
                f"{file.filename}: '{name}' has shape {list(column.shape)}, 'actions' {list(actions.shape)}; "
                "expected one number for each of an action."
            )
    if options.log_prob_convention not in ("", "gaussian"):
        raise DataError(
            f"{file.filename} has the means of Gaussians in place of log-probs; their density is gaussian, not "
            f"{options.log_prob_convention}.",
            "Leave --log-prob-convention out.",
        )
    notes.append(f"log-probs are computed from infos/action_mean and {key}, the Gaussian of each step.")
    return gaussian_log_probs(mean, log_std, actions)


def _behaviour_weights(file: h5py.File, notes: list[str]) -> BehaviourWeights | None:
    """The policy under metadata/policy; none where there is none, or none that gives a density, with a note."""
    group = member(file, "metadata/policy")
    if not isinstance(group, h5py.Group):
        return None
    layers = _layers(group)
    distribution, nonlinearity = read_text(group, "output_distribution"), read_text(group, "nonlinearity")
    lacks = _what_lacks({name: layer.shape for name, layer in layers.items()}, distribution, nonlinearity)
    if lacks:
        notes.append(f"the policy in metadata/policy is not used: {lacks}.")
        return None
    require_size(Path(file.filename), (layer.size * layer.dtype.itemsize for layer in layers.values()))
    low, high = attribute(group, "log_std_low"), attribute(group, "log_std_high")
    unsaid = None if attribute(group, "log_std_bounds") == "none" else D4RL_LOG_STD_BOUNDS
    clip, epsilon = attribute(group, "observation_clip"), attribute(group, "observation_epsilon")
    return BehaviourWeights(
        arrays={name: cast(np.ndarray, read_column(group, name)) for name in layers},
        nonlinearity=cast(Any, nonlinearity),
        output_distribution=cast(Convention, distribution),
        observation_clip=clip if isinstance(clip, float) else None,
        observation_epsilon=epsilon if isinstance(epsilon, float) else 1e-8,
        log_std_bounds=(low, high) if isinstance(low, float) and isinstance(high, float) else unsaid,
        choices=tuple(_choices(attribute(group, "choices")) or ()),
    )


def _choices(told: str | float | None) -> list[int] | None:
    """A number of choices, or one of each dimension as text: "256,256"; none where it is neither."""
    if isinstance(told, int | float):
        return [int(told)]
    parts = told.split(",") if told else []
    return [int(part) for part in parts] if parts and all(map(NUMBER.fullmatch, parts)) else None


def _layers(group: h5py.Group) -> dict[str, h5py.Dataset]:
    """The arrays of numbers in a policy, none of them read."""
    layers: dict[str, h5py.Dataset] = {}
    for name in map(str, group):
        found = member(group, name)
        keys = [f"{name}/{part}" for part in found] if isinstance(found, h5py.Group) else [name]
        for key in keys:
            leaf = member(group, key)
            dtype = type_of(leaf) if isinstance(leaf, h5py.Dataset) and leaf.shape else None
            if dtype is not None and dtype.kind == "f":
                layers[key] = cast(h5py.Dataset, leaf)
    return layers


def _what_lacks(shapes: dict[str, tuple[int, ...]], distribution: str | None, nonlinearity: str | None) -> str:
    """Why weights are no policy whose density is known; nothing where they are one."""
    if distribution not in CONVENTIONS or nonlinearity not in ("relu", "tanh"):
        return f"its output is {distribution or 'unnamed'}, its nonlinearity {nonlinearity or 'unnamed'}"
    # Adroit's "cloned" files store weights transposed, [in, out]: they are not the policy as it stands.
    if "fc0/weight" in shapes and shapes["fc0/weight"][:1] != shapes.get("fc0/bias", (0,)):
        return "its weights are stored transposed"
    if "last_fc_log_std/weight" not in shapes and "log_std" not in shapes and distribution not in DISCRETE:
        return "it has no standard deviations"
    return ""


D4RL = Reader(recognises=is_hdf5, read=read)
