"""Logs of a choice in each dimension: what readers take for one, and what the checks say of its log-probs."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from gipo_cli.data import catalog, repairs
from gipo_cli.data.checks import check
from gipo_cli.data.trajectories import ActionSpace, Trajectories
from gipo_cli.errors import DataError
from gipo_cli.policies.policy import Policy, PolicySpec
from gipo_cli.policies.weights import weights_of
from tests.data.spoiling import study

NVEC, EPISODES, STEPS = (3, 5), 80, 60


@pytest.fixture(scope="module")
def log():
    """By a policy whose choices depend on what it sees, which the log carries."""
    torch.manual_seed(0)
    policy = Policy(PolicySpec("multi_categorical", 3, sum(NVEC), (16,), choices=NVEC))
    with torch.no_grad():
        policy.last_fc.weight.mul_(4)
    n = EPISODES * STEPS
    observations = torch.randn(n, 3, generator=torch.Generator().manual_seed(1))
    actions, log_probs, _ = policy.sample(observations, torch.Generator().manual_seed(2))
    return Trajectories(
        name="knobs", source="memory", observations=observations.numpy(), actions=actions.numpy(),
        rewards=np.random.default_rng(0).standard_normal(n).astype(np.float32), behaviour_log_probs=log_probs.numpy(),
        terminated=np.zeros(n, bool), truncated=np.arange(n) % STEPS == STEPS - 1,
        final_observations=np.zeros((EPISODES, 3), np.float32), episode_starts=np.arange(0, n + 1, STEPS),
        action_space=ActionSpace((2,), nvec=NVEC), convention="multi_categorical", behaviour_weights=weights_of(policy),
    )  # fmt: skip


@pytest.mark.parametrize("carried", [True, False], ids=["with its policy", "alone"])
@pytest.mark.parametrize("name", ["nothing", "probabilities", "base 2", "sign flipped"])
def test_log_probs_are_judged_by_the_policy_or_by_a_clone(log, carried, name):
    spoil, expected = study.SPOILAGES[name]
    spoiled = spoil(log if carried else replace(log, behaviour_weights=None), log)
    assert [found[0] for found in study.reported(spoiled)] == expected


def test_log_probs_of_each_dimension_are_summed_on_request(log):
    policy_of = torch.as_tensor(log.observations), torch.as_tensor(log.actions)
    from gipo_cli.policies.weights import policy_from_weights

    with torch.no_grad():
        parts = policy_from_weights(log.behaviour_weights, "").log_prob_parts(*policy_of).numpy()
    apart = replace(log, behaviour_log_probs=parts)
    (found,) = [finding for finding in check(apart) if finding.severity == "error"]
    assert (found.name, found.repair) == ("per-dimension", "sum-dimensions")
    summed = repairs.apply(apart, ("sum-dimensions",))
    np.testing.assert_allclose(summed.behaviour_log_probs, log.behaviour_log_probs, atol=1e-5)  # float32


def test_a_choice_that_is_none_is_placed(log):
    actions = log.actions.copy()
    actions[7, 1] = 5
    (found,) = check(replace(log, actions=actions))
    assert found.meaning == "actions range from 0 to 5 of 5 choices in dimension 1."


def test_a_policy_of_other_choices_is_not_that_of_the_log(log):
    other = replace(log, action_space=ActionSpace((2,), nvec=(5, 3)), actions=log.actions[:, ::-1])
    with pytest.raises(DataError, match=r"its policy is multi_categorical with 3 x 5 actions, the log .* with 5 x 3\."):
        check(other)


def test_whole_numbers_in_two_columns_are_choices_unless_declared_otherwise(d4rl):
    actions = np.random.default_rng(0).integers(0, 4, (12, 2))
    actions[0] = 3, 1
    log = catalog.load(str(d4rl(actions=actions)))
    assert (log.convention, log.action_space.nvec) == ("multi_categorical", tuple(actions.max(0) + 1))
    told = catalog.load(str(d4rl(actions=actions, attributes={"action_choices": "7,9"})))
    assert told.action_space.nvec == (7, 9)
    doses = catalog.load(str(d4rl(actions=actions, attributes={"output_distribution": "gaussian"})))
    assert (doses.convention, doses.actions.dtype) == ("gaussian", np.float32)


@pytest.mark.parametrize("told", ["7", "7,9,2", "7,x", "9" * 5000, ",", -3.0])
def test_choices_that_a_damaged_file_tells_are_not_believed(d4rl, told):
    actions = np.tile([[1, 2], [2, 0]], (6, 1))
    assert catalog.load(str(d4rl(actions=actions, attributes={"action_choices": told}))).action_space.nvec == (3, 3)


def test_one_column_may_be_declared_a_dimension(d4rl):
    actions = np.arange(12)[:, None] % 3
    log = catalog.load(str(d4rl(actions=actions, attributes={"output_distribution": "multi_categorical"})))
    assert (log.convention, log.action_space.nvec, log.actions.shape) == ("multi_categorical", (3,), (12, 1))


def test_choices_with_a_fraction_are_placed(d4rl):
    actions = np.ones((12, 2))
    actions[5, 1] = 0.5
    with pytest.raises(DataError, match=r"the action of row 5 is \[1\.  0\.5\]; expected the number of a choice"):
        catalog.load(str(d4rl(actions=actions, attributes={"output_distribution": "multi_categorical"})))


def test_a_mapping_names_the_choices_of_each_dimension(mapped):
    columns = {
        "x": np.arange(6.0), "a0": np.arange(6) % 2, "a1": np.arange(6) % 3, "r": np.ones(6), "p": -np.ones(6),
        "end": np.arange(6) == 5,
    }  # fmt: skip
    text = """
        [columns]
        observations = "x"
        actions = ["a0", "a1"]
        rewards = "r"
        log_probs = "p"
        terminated = "end"
        [log]
        convention = "multi_categorical"
        action_choices = [4, 5]
    """
    assert mapped(text, columns).action_space.nvec == (4, 5)


def test_more_choices_than_a_policy_can_have_are_an_error_that_none_accepts(gipo, d4rl, tmp_path):
    from gipo_cli.data.checks.structure import MOST_CHOICES
    from gipo_cli.policies.policy import LARGEST_LAYER

    assert MOST_CHOICES == LARGEST_LAYER
    actions = np.arange(12)[:, None] % 3
    path = d4rl(actions=actions, attributes={"action_choices": MOST_CHOICES + 1})
    assert gipo("datasets", "check", path, "--quiet").exit_code == 3
    for accepted in ((), ("--accept", "choices")):
        outcome = gipo("train", "--dataset", path, "--out", tmp_path / "run", "--quiet", *accepted)
        assert (outcome.exit_code, "65,537 choices; up to 65,536 are taken" in outcome.stderr) == (3, True)
        assert "If you know better" not in outcome.stderr
    assert not (tmp_path / "run").exists()


def test_a_choice_at_the_end_of_int64_is_counted_and_refused(d4rl):
    actions = np.zeros((12, 1), np.int64)
    actions[3] = 2**63 - 1
    log = catalog.load(str(d4rl(actions=actions)))
    assert log.action_space.n == 2**63
    assert [finding.name for finding in check(log)] == ["choices"]


@pytest.mark.parametrize("told", ["-1,2", "7,x", np.array([3.5, 2.0])])
def test_choices_that_cannot_be_read_are_said_to_be_inferred(d4rl, told):
    actions = np.tile([[1, 2], [2, 0]], (6, 1))
    log = catalog.load(str(d4rl(actions=actions, attributes={"action_choices": told})))
    assert "its attribute action_choices cannot be read; the choices are those that were made." in log.notes


def test_a_choice_that_is_no_number_is_placed_without_a_warning_of_numpys(d4rl):
    actions = np.ones((12, 2))
    actions[5, 1] = np.nan
    with pytest.raises(DataError, match=r"the action of row 5 is \[ 1\. nan\]; expected the number of a choice"):
        catalog.load(str(d4rl(actions=actions, attributes={"output_distribution": "multi_categorical"})))
