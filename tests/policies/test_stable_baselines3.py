"""Models that Stable-Baselines3 wrote, judged by Stable-Baselines3; and hostile ones."""

import copy
import io
import json
import zipfile

import gymnasium
import numpy as np
import pytest
import torch

from gipo_cli.errors import DataError
from gipo_cli.policies.stable_baselines3 import from_model, load_zip
from gipo_cli.policies.weights import load_policy

sb3 = pytest.importorskip("stable_baselines3", reason="needs stable-baselines3")
SMALL = {"net_arch": [16, 8]}
RELU = {"net_arch": {"pi": [12], "vf": [4]}, "activation_fn": torch.nn.ReLU}


def saved(tmp_path, algorithm, environment, **options):
    torch.manual_seed(0)
    model = getattr(sb3, algorithm)("MlpPolicy", environment, device="cpu", **copy.deepcopy(options))  # SB3 adds to it
    with torch.no_grad():
        for parameter in model.policy.parameters():  # PPO's last layer starts almost at 0
            parameter.add_(0.3 * torch.randn_like(parameter))
    model.save(tmp_path / "model")
    return model, tmp_path / "model.zip"


@pytest.mark.parametrize(
    ("algorithm", "environment", "options"),
    [
        ("PPO", "CartPole-v1", {"policy_kwargs": SMALL}),
        ("PPO", "Pendulum-v1", {"policy_kwargs": RELU}),
        ("A2C", "Pendulum-v1", {}),
        ("A2C", "Acrobot-v1", {"policy_kwargs": {"net_arch": []}}),
    ],
)
def test_log_probs_of_ppo_and_a2c_are_those_of_evaluate_actions(tmp_path, algorithm, environment, options):
    model, path = saved(tmp_path, algorithm, environment, **options)
    policy, metadata = load_zip(path)
    assert metadata == {"algorithm": "PPO or A2C", "steps": "0"}
    observation = torch.randn(500, policy.spec.observation_size)
    action, log_prob, _ = policy.sample(observation, torch.Generator().manual_seed(0))
    with torch.no_grad():
        _, expected, _ = model.policy.evaluate_actions(observation, action)
    torch.testing.assert_close(log_prob, expected, atol=1e-5, rtol=1e-5)
    greedy = model.predict(observation.numpy(), deterministic=True)[0]
    mode = policy.mode(observation)
    if not policy.is_discrete:
        mode = mode.clamp(-2, 2)  # Pendulum's bounds: predict clips
    np.testing.assert_allclose(mode.numpy(), greedy, atol=1e-5)


def test_log_probs_of_sac_are_those_of_its_actor(tmp_path):
    model, path = saved(tmp_path, "SAC", "Pendulum-v1", policy_kwargs=SMALL)
    policy, metadata = load_zip(path)
    assert metadata["algorithm"] == "SAC"
    observation = torch.randn(500, 3)
    with torch.no_grad():
        torch.manual_seed(1)
        action, expected = model.actor.action_log_prob(observation)
        u = model.actor.action_dist.gaussian_actions
        found = policy.log_prob(observation, action, u)
    clear = action.abs().squeeze(-1) < 0.99  # SB3 adds 1e-6 within the logarithm of the Jacobian
    assert clear.sum() > 100
    torch.testing.assert_close(found[clear], expected[clear], atol=1e-4, rtol=1e-4)
    assert policy.spec.distribution == "tanh_gaussian"


def test_standardisation_of_a_live_model_becomes_part_of_the_policy(tmp_path):
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    from gipo_cli.collect import save_policy_of

    venv = VecNormalize(DummyVecEnv([lambda: gymnasium.make("Pendulum-v1")]), clip_obs=2.0)
    model = sb3.PPO("MlpPolicy", venv, n_steps=64, batch_size=64, n_epochs=1, device="cpu")
    model.learn(64)
    save_policy_of(model, tmp_path / "p.safetensors")
    policy, metadata = load_policy(tmp_path / "p.safetensors")
    assert metadata["environment"] == "Pendulum-v1"
    raw = torch.randn(200, 3) * torch.tensor([1.0, 1.0, 8.0])
    action = torch.randn(200, 1)
    with torch.no_grad():
        seen = torch.as_tensor(venv.normalize_obs(raw.numpy()))
        assert seen.abs().max() == 2  # clipped
        _, expected, _ = model.policy.evaluate_actions(seen, action)
        torch.testing.assert_close(policy.log_prob(raw, action), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("algorithm", "environment", "options", "message"),
    [
        ("DQN", "CartPole-v1", {}, "is DQN, whose actions are the greedy ones: they have no log-probabilities."),
        ("TD3", "Pendulum-v1", {}, "is TD3 or DDPG, whose actor is deterministic: its actions have no log-pro"),
        ("SAC", "Pendulum-v1", {"use_sde": True}, "explores with gSDE: its noise is not drawn anew at every step."),
        ("PPO", "Pendulum-v1", {"use_sde": True}, "explores with gSDE: its noise is not drawn anew at every step."),
        ("PPO", "Pendulum-v1", {"policy_kwargs": {"activation_fn": torch.nn.ELU}}, "has the activation <class 'torch."),
    ],
)
def test_what_cannot_be_rebuilt_is_refused(tmp_path, algorithm, environment, options, message):
    _, path = saved(tmp_path, algorithm, environment, **options)
    with pytest.raises(DataError) as refused:
        load_zip(path)
    assert refused.value.message.startswith(f"{path} {message}")


def test_a_features_extractor_of_ones_own_is_refused():
    from stable_baselines3.common.torch_layers import FlattenExtractor

    class Own(FlattenExtractor):
        pass

    with pytest.raises(DataError, match=r"has the features extractor .*Own.*, which is not rebuilt"):
        from_model(sb3.PPO("MlpPolicy", "CartPole-v1", device="cpu", policy_kwargs={"features_extractor_class": Own}))


def test_a_choice_in_each_dimension_is_the_one_of_evaluate_actions(tmp_path):
    from gymnasium.spaces import MultiDiscrete

    env = gymnasium.make("CartPole-v1").unwrapped
    env.action_space = MultiDiscrete([2, 5, 3])
    model, path = saved(tmp_path, "PPO", env)
    policy, _ = load_zip(path)
    assert policy.spec.choices == from_model(model).spec.choices == (2, 5, 3)
    observation = torch.randn(500, 4)
    action, log_prob, _ = policy.sample(observation, torch.Generator().manual_seed(0))
    with torch.no_grad():
        _, expected, _ = model.policy.evaluate_actions(observation, action)
    torch.testing.assert_close(log_prob, expected, atol=1e-5, rtol=1e-5)
    greedy = model.predict(observation.numpy(), deterministic=True)[0]
    np.testing.assert_array_equal(policy.mode(observation).numpy(), greedy)


def test_pixels_and_binary_actions_are_refused():
    from gymnasium.spaces import Box, MultiBinary

    env = gymnasium.make("CartPole-v1").unwrapped
    env.action_space = MultiBinary(2)
    with pytest.raises(DataError, match=r"acts in .*MultiBinary'>; expected a Box, Discrete or MultiDiscrete"):
        from_model(sb3.PPO("MlpPolicy", env, device="cpu"))
    env = gymnasium.make("CartPole-v1").unwrapped
    env.observation_space = Box(0, 255, (36, 36, 3), np.uint8)
    with pytest.raises(DataError, match="has a features extractor with weights"):
        from_model(sb3.PPO("CnnPolicy", env, device="cpu"))
    with pytest.raises(DataError, match="expected a Box of real numbers"):
        from_model(sb3.PPO("MlpPolicy", env, device="cpu"))


class Trap:
    """Unpickled by anything but the restricted loader, it leaves a file behind."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def rewritten(path, out, **members):
    with zipfile.ZipFile(path) as before, zipfile.ZipFile(out, "w") as after:
        for name in before.namelist():
            content = members.get(name.replace(".", "_"), before.read(name))
            if content is not None:
                after.writestr(name, content)
    return out


def torch_bytes(value, **options):
    content = io.BytesIO()
    torch.save(value, content, **options)
    return content.getvalue()


def test_hostile_files_are_refused_in_one_line_and_run_nothing(tmp_path):
    _, path = saved(tmp_path, "PPO", "CartPole-v1", policy_kwargs=SMALL)
    marker = tmp_path / "ran"
    with zipfile.ZipFile(path) as archive:
        state = torch.load(io.BytesIO(archive.read("policy.pth")), weights_only=True)
        data = json.loads(archive.read("data"))
    wide = {**state, "action_net.weight": torch.zeros(1).expand(2000, 2000)}
    packed = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(torch_bytes({**state, "action_net.bias": torch.zeros(10**6)}))) as stored,
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name in stored.namelist():
            archive.writestr(name, stored.read(name))  # 4 MB of zeros in a few kB
    nan = {**state, "action_net.bias": torch.full((2,), torch.nan)}
    short = {**state, "action_net.weight": torch.ones(2, 5)}
    cases = {
        "code": ("its policy.pth is damaged", {"policy_pth": torch_bytes(Trap(marker))}),
        "old": ("is not a zip", {"policy_pth": torch_bytes(state, _use_new_zipfile_serialization=False)}),
        "wide": ("claim more bytes than the file has", {"policy_pth": torch_bytes(wide)}),
        "packed": ("policy.pth is packed", {"policy_pth": packed.getvalue()}),
        "list": ("no state of a policy", {"policy_pth": torch_bytes([1, 2])}),
        "nan": ("action_net.bias holds numbers that are not finite", {"policy_pth": torch_bytes(nan)}),
        "short": ("its layers do not fit", {"policy_pth": torch_bytes(short)}),
        "flat": ("its layers do not fit", {
            "policy_pth": torch_bytes({**state, "mlp_extractor.policy_net.0.weight": torch.zeros(4)})}),
        "lacking": ("it lacks data or policy.pth", {"policy_pth": None}),
        "text": ("is a damaged model", {"data": b"not JSON"}),
        "deep": ("is a damaged model", {"data": b"[" * 100_000}),
        "array": ("its data is not a JSON object", {"data": b"[]"}),
        "spaceless": ("acts in an unknown space", {"data": json.dumps({**data, "action_space": None}).encode()}),
    }  # fmt: skip
    for name, (reason, members) in cases.items():
        with pytest.raises(DataError) as refused:
            load_zip(rewritten(path, tmp_path / f"{name}.zip", **members))
        assert reason in refused.value.message, name
        assert "\n" not in refused.value.message, name
        assert str(tmp_path) in refused.value.message, name
    (tmp_path / "cut.zip").write_bytes(path.read_bytes()[:500])
    with pytest.raises(DataError, match="damaged model of Stable-Baselines3"):
        load_zip(tmp_path / "cut.zip")
    assert not marker.exists()


def test_the_pickles_beside_the_weights_are_not_opened(tmp_path):
    import base64
    import pickle

    model, path = saved(tmp_path, "PPO", "CartPole-v1", policy_kwargs=SMALL)
    marker = tmp_path / "ran"
    trap = base64.b64encode(pickle.dumps(Trap(marker))).decode()
    with zipfile.ZipFile(path) as archive:
        data = json.loads(archive.read("data"))
    for value in data.values():
        if isinstance(value, dict) and ":serialized:" in value:
            value[":serialized:"] = trap
    spoiled = rewritten(
        path, tmp_path / "trap.zip", data=json.dumps(data).encode(), pytorch_variables_pth=pickle.dumps(Trap(marker))
    )
    policy, _ = load_zip(spoiled)
    torch.testing.assert_close(policy.last_fc.weight, model.policy.action_net.weight)
    assert not marker.exists()
