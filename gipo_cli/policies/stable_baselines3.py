"""Policies of Stable-Baselines3: PPO, A2C and SAC, from the .zip that `model.save` wrote or from a live model.

A .zip comes from a stranger, and SB3's own `load` unpickles it, which runs whatever code is inside. Here:

* `data` is JSON. Its base64 ':serialized:' parts are pickles and are never decoded; beside them SB3 writes the same
  things as text, and the text is enough to know the activation, the spaces and what cannot be rebuilt.
* `policy.pth` has no form but torch's, so this is the one file of the package that calls `torch.load`, and only
  with weights_only=True, whose loader of torch 2.10 and later (the least that is installed) makes tensors and plain
  containers and calls nothing else. What it is given is bounded first: an archive whose entries are stored, not
  packed, so that tensors take no more memory than the file has bytes.
* No other file of the archive is opened.
"""

import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gipo_cli.errors import DataError, brief
from gipo_cli.policies.policy import Policy, PolicySpec

# What zipfile and json raise where a file is damaged.
DAMAGE = (
    zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, RecursionError, NotImplementedError, RuntimeError,
    LookupError, OverflowError, MemoryError, struct.error,
)  # fmt: skip
LARGEST_DATA = 2**26  # bytes of `data`; it carries the last observations, and at worst a few images
LARGEST_WEIGHTS = 2**30  # bytes of policy.pth
SAC_LOG_STD_BOUNDS = (-20.0, 2.0)  # stable_baselines3.sac.policies: LOG_STD_MIN, LOG_STD_MAX
MODULES = ("stable_baselines3.common.policies", "stable_baselines3.sac.policies")
ACTIVATION_NAMES = {"ReLU": "relu", "Tanh": "tanh"}
DISCRETE = {  # the type of an action space of choices, and the density of their log-probs
    "<class 'gymnasium.spaces.discrete.Discrete'>": "categorical",
    "<class 'gymnasium.spaces.multi_discrete.MultiDiscrete'>": "multi_categorical",
}
KNOWN = "Known: PPO, A2C and SAC with MlpPolicy, on Box observations and Box, Discrete or MultiDiscrete actions."
# What no density can be got from, by a weight that only it has.
WITHOUT_LOG_PROBS = {
    "q_net.": "DQN, whose actions are the greedy ones: they have no log-probabilities",
    "quantile_net.": "QR-DQN, whose actions are the greedy ones: they have no log-probabilities",
    "actor.mu.0.": "TD3 or DDPG, whose actor is deterministic: its actions have no log-probabilities",
    "lstm_actor.": "a recurrent policy, whose actions depend on more than the observation",
}
IGNORED = ("mlp_extractor.value_net.", "value_net.", "critic.", "critic_target.")


def load_zip(path: Path) -> tuple[Policy, dict[str, str]]:
    """Read the policy of a .zip that Stable-Baselines3's `model.save` wrote.

    A model that was trained behind VecNormalize saw standardised observations, and its .zip does not say so: turn such
    a one into a .safetensors file with `from_model`, which finds the statistics in the live model.

    Returns:
        The policy, and what the file says of itself: algorithm, steps.

    Raises:
        DataError: not such a file, damaged, hostile, or a policy that cannot be rebuilt exactly.
    """
    data, state = _read(path)
    return _rebuild(str(path), data, state), {
        "algorithm": "SAC" if "actor.mu.weight" in state else "PPO or A2C",
        "steps": str(data["num_timesteps"]) if isinstance(data.get("num_timesteps"), int) else "",
    }


def from_model(model: Any) -> Policy:
    """The policy of a live Stable-Baselines3 model; VecNormalize's statistics become part of it.

    Save it with `policies.weights.save_policy`; it acts on raw observations.

    Raises:
        DataError: the policy is of a kind that cannot be rebuilt exactly.
    """
    kwargs = {key: str(value) for key, value in model.policy_kwargs.items()}
    data = {
        "use_sde": model.use_sde,
        "policy_kwargs": kwargs,
        "policy_class": {"__module__": type(model.policy).__module__},
        "observation_space": _described(model.observation_space),
        "action_space": _described(model.action_space),
    }
    policy = _rebuild("the model", data, {name: value.cpu() for name, value in model.policy.state_dict().items()})
    normalised = model.get_vec_normalize_env()
    if normalised is None or not normalised.norm_obs:
        return policy
    spec = PolicySpec(**{**vars(policy.spec), "observation_clip": float(normalised.clip_obs)})
    standardised = Policy(spec)
    standardised.load_state_dict(policy.state_dict())
    mean, variance = normalised.obs_rms.mean, normalised.obs_rms.var
    standardised.observation_mean.copy_(torch.as_tensor(mean))
    standardised.observation_scale.copy_(torch.as_tensor((variance + normalised.epsilon) ** 0.5))
    return standardised


def _described(space: Any) -> dict[str, str]:
    """A space as `data` has it in text."""
    return {":type:": str(type(space)), "dtype": str(space.dtype), "nvec": str(getattr(space, "nvec", ""))}


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with zipfile.ZipFile(path) as archive:
            if not {"data", "policy.pth"} <= set(archive.namelist()):
                raise DataError(f"{path} is not a model of Stable-Baselines3: it lacks data or policy.pth.", KNOWN)
            data = json.loads(_member(archive, "data", LARGEST_DATA, path))
            weights = _member(archive, "policy.pth", LARGEST_WEIGHTS, path)
    except DAMAGE as error:
        raise DataError(f"{path} is a damaged model of Stable-Baselines3 ({brief(error)}).", KNOWN) from error
    if not isinstance(data, dict):
        raise DataError(f"{path}: its data is not a JSON object.", KNOWN)
    return data, _tensors(weights, path)


def _member(archive: zipfile.ZipFile, name: str, limit: int, path: Path) -> bytes:
    with archive.open(name) as member:
        content = member.read(limit + 1)  # the size that an archive claims may be a lie
    if len(content) > limit:
        raise DataError(f"{path}: its {name} has more than {limit:,} bytes; it is not read.")
    return content


def _tensors(content: bytes, path: Path) -> dict[str, Tensor]:
    damaged = f"{path}: its policy.pth is damaged, or no state of a policy"
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as inner:
            stored = all(entry.compress_type == zipfile.ZIP_STORED for entry in inner.infolist())
            claimed = sum(entry.file_size for entry in inner.infolist())
    except DAMAGE as error:
        raise DataError(f"{damaged} ({brief(error)}).", KNOWN) from error
    if not stored or claimed > len(content):
        raise DataError(f"{path}: its policy.pth is packed, as torch never writes it; it is not read.")
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # a restricted unpickler meets hostile bytes: it may raise anything
        raise DataError(f"{damaged} ({brief(error)}).", KNOWN) from error
    if not isinstance(state, dict) or not all(map(_is_plain, state.keys(), state.values())):
        raise DataError(f"{damaged}.", KNOWN)
    # A tensor may claim any shape over one stored number.
    if sum(value.numel() * value.element_size() for value in state.values()) > len(content):
        raise DataError(f"{path}: its weights claim more bytes than the file has; it is not read.")
    return dict(state)


def _is_plain(name: Any, value: Any) -> bool:
    return isinstance(name, str) and type(value) is Tensor and value.layout == torch.strided and value.is_cpu


def _rebuild(where: str, data: Mapping[str, Any], state: Mapping[str, Tensor]) -> Policy:
    """A policy with the weights of `state`, of the kind that `data` describes in text.

    Raises:
        DataError: it is of another kind than PPO's, A2C's or SAC's MlpPolicy.
    """
    if data.get("use_sde"):
        raise DataError(f"{where} explores with gSDE: its noise is not drawn anew at every step.", KNOWN)
    for prefix, what in WITHOUT_LOG_PROBS.items():
        if any(name.startswith(prefix) for name in state):
            raise DataError(f"{where} is {what}.", KNOWN)
    _require_plain(where, data, state)
    squashed = "actor.mu.weight" in state
    hidden, final = ("actor.latent_pi", "actor.mu") if squashed else ("mlp_extractor.policy_net", "action_net")
    names, sizes = _layers(where, state, hidden)
    names |= {f"last_fc.{part}": f"{final}.{part}" for part in ("weight", "bias")}
    acted = _text(data, "action_space", ":type:")
    if squashed:
        names |= {f"last_fc_log_std.{part}": f"actor.log_std.{part}" for part in ("weight", "bias")}
    elif acted not in DISCRETE:
        names["log_std"] = "log_std"
    rest = sorted(name for name in state if name not in names.values() and not name.startswith(IGNORED))
    missing = sorted(name for name in names.values() if name not in state)
    if rest or missing:
        raise DataError(
            f"{where}: its policy has weights {rest or 'none'} too many and lacks {missing or 'none'}.", KNOWN
        )
    chosen = {ours: state[theirs].float() for ours, theirs in names.items()}
    for name, value in chosen.items():
        if not torch.isfinite(value).all():
            raise DataError(f"{where}: {names[name]} holds numbers that are not finite.")
    first = chosen["fc0.weight" if sizes else "last_fc.weight"]
    low, high = SAC_LOG_STD_BOUNDS
    if "log_std" in chosen:  # of PPO and A2C it has no bounds
        low, high = min(low, float(chosen["log_std"].min()) - 1), max(high, float(chosen["log_std"].max()) + 1)
    try:
        policy = Policy(
            PolicySpec(
                distribution="tanh_gaussian" if squashed else DISCRETE.get(acted, "gaussian"),
                observation_size=first.shape[-1],
                action_size=len(chosen["last_fc.bias"]),
                hidden_sizes=tuple(sizes),
                activation=_activation(where, data, "relu" if squashed else "tanh"),
                state_dependent_std=squashed,
                log_std_bounds=(low, high),
                choices=_choices(data) if DISCRETE.get(acted) == "multi_categorical" else (),
            )
        )
        policy.load_state_dict({**policy.state_dict(), **chosen})
    except (ValueError, RuntimeError, IndexError, TypeError) as error:
        reason = str(error).strip().split("\n")[-1].strip()
        raise DataError(f"{where}: its layers do not fit each other ({reason}).", KNOWN) from error
    return policy


def _require_plain(where: str, data: Mapping[str, Any], state: Mapping[str, Tensor]) -> None:
    """Refuse what is more than an MLP on a vector, and what has another density than it seems."""
    if any("features_extractor." in name for name in state):
        raise DataError(f"{where} has a features extractor with weights (a CNN, or one of its author's own).", KNOWN)
    module = _text(data, "policy_class", "__module__")
    if module not in MODULES:
        raise DataError(f"{where} has a policy of {module or 'an unknown module'}, not one of SB3's own.", KNOWN)
    kwargs = data.get("policy_kwargs")
    extractor = _text(data, "policy_kwargs", "features_extractor_class")
    if extractor and "torch_layers.FlattenExtractor'" not in extractor:
        raise DataError(f"{where} has the features extractor {extractor}, which is not rebuilt.", KNOWN)
    if isinstance(kwargs, dict) and str(kwargs.get("squash_output", False)) != "False":
        raise DataError(f"{where} squashes its output with gSDE's bijector, which is not rebuilt.", KNOWN)
    observed, acted = _text(data, "observation_space", ":type:"), _text(data, "action_space", ":type:")
    if "gymnasium.spaces.box.Box'" not in observed or _text(data, "observation_space", "dtype") == "uint8":
        raise DataError(f"{where} observes {observed or 'an unknown space'}; expected a Box of real numbers.", KNOWN)
    if not acted.endswith("spaces.box.Box'>") and acted not in DISCRETE:
        raise DataError(
            f"{where} acts in {acted or 'an unknown space'}; expected a Box, Discrete or MultiDiscrete.", KNOWN
        )


def _choices(data: Mapping[str, Any]) -> tuple[int, ...]:
    """Of each dimension of a MultiDiscrete space, which a .zip names in numpy's way: "[5 3]"."""
    return tuple(int(number) for number in re.findall(r"\d{1,9}", _text(data, "action_space", "nvec")))


def _text(data: Mapping[str, Any], key: str, inner: str) -> str:
    found = data.get(key)
    value = found.get(inner) if isinstance(found, dict) else None
    return value if isinstance(value, str) else ""


def _activation(where: str, data: Mapping[str, Any], default: str) -> str:
    named = _text(data, "policy_kwargs", "activation_fn")
    if not named:
        return default
    found = re.fullmatch(r"<class 'torch\.nn\.modules\.activation\.(\w+)'>", named)
    if found is None or found[1] not in ACTIVATION_NAMES:
        raise DataError(f"{where} has the activation {named}, which is not rebuilt.", "Known: torch.nn.ReLU, Tanh.")
    return ACTIVATION_NAMES[found[1]]


def _layers(where: str, state: Mapping[str, Tensor], prefix: str) -> tuple[dict[str, str], list[int]]:
    """Our names of the hidden layers and theirs, PREFIX.0, PREFIX.2, ... with activations between; and their sizes."""
    names, sizes = {}, []
    pattern = re.compile(re.escape(prefix) + r"\.([0-9]{1,4})\.weight")
    numbers = sorted({int(found[1]) for name in state if (found := pattern.fullmatch(name))})
    for i, number in enumerate(numbers):
        if number != 2 * i:
            raise DataError(f"{where}: its layers are not linear ones with an activation between.", KNOWN)
        names |= {f"fc{i}.{part}": f"{prefix}.{number}.{part}" for part in ("weight", "bias")}
        sizes.append(len(state[f"{prefix}.{number}.weight"]))
    return names, sizes
