"""Policies from and to files."""

import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from gipo_cli.errors import DataError
from gipo_cli.policies.policy import Policy, PolicySpec
from gipo_cli.policies.weights import SPEC_KEY, load_policy, policy_from_arrays, policy_to_arrays, save_policy

SPECS = [
    PolicySpec("gaussian", 3, 2, (4, 5), "tanh", state_dependent_std=False, observation_clip=10.0),
    PolicySpec("tanh_gaussian", 3, 2, (8,)),
    PolicySpec("categorical", 3, 4, (8, 8)),
]


def make(spec):
    torch.manual_seed(0)
    policy = Policy(spec)
    policy.observation_mean.uniform_(-1, 1)
    policy.observation_scale.uniform_(0.5, 2)
    return policy


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.distribution)
def test_a_saved_policy_comes_back_bit_for_bit(tmp_path, spec):
    policy = make(spec)
    save_policy(policy, tmp_path / "p.safetensors")
    again = load_policy(tmp_path / "p.safetensors")[0]
    assert again.spec == spec
    for name, value in policy.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.distribution)
def test_d4rls_arrays_give_the_same_policy_with_its_standardisation(spec):
    policy = make(spec)
    again = policy_from_arrays(
        policy_to_arrays(policy), nonlinearity=spec.activation, distribution=spec.distribution,
        observation_clip=None if math.isinf(spec.observation_clip) else spec.observation_clip, observation_epsilon=0.0,
        log_std_bounds=spec.log_std_bounds,
    )  # fmt: skip
    observation = torch.randn(50, 3) * 3
    # The scale goes through its square and back in float64: one float32 rounding.
    torch.testing.assert_close(again.mode(observation), policy.mode(observation), rtol=1e-5, atol=1e-6)
    assert again.spec == spec


def test_the_variance_and_epsilon_of_a_file_become_the_scale(tmp_path):
    arrays = {name.replace(".", "/"): value for name, value in make(SPECS[0]).state_dict().items()}
    del arrays["observation_scale"]
    arrays["observation_variance"] = torch.tensor([4.0, 9.0, 0.0], dtype=torch.float64) + 1
    save_file(
        {name: value.contiguous() for name, value in arrays.items()}, tmp_path / "p.safetensors",
        {"nonlinearity": "tanh", "output_distribution": "gaussian", "observation_epsilon": "3",
         "observation_clip": "10"},
    )  # fmt: skip
    policy = load_policy(tmp_path / "p.safetensors")[0]
    np.testing.assert_allclose(policy.observation_scale, np.sqrt([8, 13, 4]), rtol=1e-6)
    assert policy.spec.observation_clip == 10


def spoilt(change):
    spec = SPECS[1].to_dict() | change
    return {SPEC_KEY: json.dumps(spec)}


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {SPEC_KEY: "{"},
        {SPEC_KEY: "{}"},
        spoilt({"distribution": "cauchy"}),
        spoilt({"activation": "os.system"}),
        spoilt({"hidden_sizes": [10**9]}),
        spoilt({"hidden_sizes": ["8"]}),
        spoilt({"observation_size": 4}),
        spoilt({"log_std_bounds": [2, -20]}),
        {"output_distribution": "gaussian", "nonlinearity": "relu", "observation_clip": "ten"},
        {"output_distribution": "tanh_gaussian", "nonlinearity": "swish"},
    ],
)
def test_a_file_that_is_no_policy_is_refused(tmp_path, metadata):
    save_file(make(SPECS[1]).state_dict(), tmp_path / "p.safetensors", metadata)
    with pytest.raises(DataError, match=r"p\.safetensors"):
        load_policy(tmp_path / "p.safetensors")


def test_weights_that_are_not_finite_or_missing_or_cut_short_are_refused(tmp_path):
    policy = make(SPECS[1])
    path = tmp_path / "p.safetensors"
    save_policy(policy, path)
    content = path.read_bytes()
    for kept in (0, 4, 20, len(content) - 1):
        path.write_bytes(content[:kept])
        with pytest.raises(DataError, match="is not a readable safetensors file"):
            load_policy(path)
    with torch.no_grad():
        policy.last_fc.bias[0] = math.nan
    save_policy(policy, path)
    with pytest.raises(DataError, match=r"last_fc\.bias holds numbers that are not finite"):
        load_policy(path)
    with pytest.raises(DataError, match="there is no policy file"):
        load_policy(tmp_path / "none.safetensors")
