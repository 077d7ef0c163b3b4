"""Which policy is kept at the end: the newest that the held-out episodes bear out."""

from dataclasses import replace

import pytest
import torch

from gipo_cli.config import TrainConfig
from gipo_cli.errors import RunError
from gipo_cli.policies.policy import Policy, PolicySpec
from gipo_cli.policies.weights import load_policy
from gipo_cli.runs import RunDirectory
from gipo_cli.training.anchor import Anchor
from gipo_cli.training.certificate import LEVEL, certify
from gipo_cli.training.checkpoints import Checkpoint
from gipo_cli.training.judgement import has_stalled, judge
from gipo_cli.training.samples import Samples
from gipo_cli.training.state import Training, adam, restore, save
from gipo_cli.training.width import Width

N, EPISODES = 4000, 40
CONFIG = TrainConfig(dataset="log")


def shifted(shift):
    """N(shift, 1) whatever it sees; the behaviour policy is N(0, 1)."""
    policy = Policy(PolicySpec("gaussian", 1, 1, (2,)))
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.zero_()
        policy.last_fc.bias.fill_(shift)
    return policy


def make_samples():
    """Half held out; the advantage of an action is the action itself."""
    action = torch.randn(N, 1, generator=torch.Generator().manual_seed(0))
    rows, flags = torch.arange(N), torch.zeros(N, dtype=torch.bool)
    with torch.no_grad():
        log_prob = shifted(0).log_prob(torch.ones(N, 1), action)
    held_out = rows % 2 == 0
    return Samples(
        torch.ones(N, 1), action, None, torch.zeros(N), log_prob, torch.ones(N, 1), flags, flags,
        rows * EPISODES // N, torch.zeros_like(rows), ~flags, held_out, rows[~held_out], rows[held_out],
    )  # fmt: skip


def judged(place, shifts, explained_lower=0.8, extra=None, **settings):
    """A run whose checkpoints are policies of these shifts, a hundred steps apart, judged at the last."""
    samples, cpu = make_samples(), torch.device("cpu")
    run = RunDirectory.create(place)
    for k, shift in enumerate(shifts):
        policy = shifted(shift)
        now = Training(
            policy, adam(policy, CONFIG), Anchor.start(0.5, cpu), Width.start(CONFIG, 0.0), samples.action[:, 0],
            {"warm_start": {"kl": 0.0}, "critic": {"explained_lower": explained_lower}}, None, step=100 * k,
        )  # fmt: skip
        if k < len(shifts) - 1:
            save(run, now)
    if extra is not None:
        save(run, replace(now, step=extra, policy=shifted(0.6)))
    judge(TrainConfig(dataset="log", checkpoint_every=100, **settings), now, samples, run)
    return now.facts["certificate"], now.policy.last_fc.bias.item()


# N(s, 1) has an effective share of exp(-s^2): 0.002 at 2.5.
@pytest.mark.parametrize(
    ("shifts", "kept_step", "kept"),
    [
        ((0, 0.3, 0.5, 0.8), 300, 0.8),  # the last, as it holds
        ((0, 0.3, 0.5, 2.5), 200, 0.5),  # the newest that holds, and not the one that looks best
        ((0, 0.3, 2.5, 2.5), 100, 0.3),
        ((0, -0.5, 2.5), 0, 0),
    ],
)
def test_the_newest_policy_that_holds_is_kept(tmp_path, shifts, kept_step, kept):
    certificate, bias = judged(tmp_path / "run", shifts)
    assert (certificate["kept_step"], bias) == (kept_step, pytest.approx(kept))
    assert certificate["kept"] == ("trained policy" if kept_step else "starting policy")
    assert certificate["certified"] == bool(kept_step)
    trained = tmp_path / "run" / "trained.safetensors"
    assert trained.exists() == (kept != shifts[-1])
    if trained.exists():
        assert load_policy(trained)[0].last_fc.bias.item() == pytest.approx(shifts[-1])
        assert not certificate["last"]["certified"]


def test_the_level_rises_with_the_number_of_looks(tmp_path):
    certificate, _ = judged(tmp_path / "run", (0, 0.3, 0.5, 0.8))
    assert certificate["level"] == pytest.approx(1 - 0.05 / 3)
    alone, _ = judged(tmp_path / "alone", (0, 0.8))
    assert alone["level"] == LEVEL
    assert certificate["surrogate_lower"] < alone["surrogate_lower"]


def test_what_an_interruption_left_behind_changes_nothing(tmp_path):
    plain, _ = judged(tmp_path / "plain", (0, 0.3, 0.5, 2.5))
    extra, _ = judged(tmp_path / "extra", (0, 0.3, 0.5, 2.5), extra=250)
    assert plain == extra


def test_whoever_asks_for_it_gets_the_last_policy_anyway(tmp_path):
    certificate, bias = judged(tmp_path / "run", (0, 0.3, 2.5), certify=False)
    assert (certificate["certified"], certificate["kept"], bias) == (False, "trained policy", 2.5)


def test_advantages_that_explain_nothing_keep_the_start(tmp_path):
    certificate, bias = judged(tmp_path / "run", (0, 0.3, 0.5), explained_lower=0.1)
    assert (certificate["kept"], bias) == ("starting policy", 0)
    assert "explain too little" in certificate["reason"]


def test_the_bound_is_the_surrogates_own():
    samples = make_samples()
    x = samples.log_ratio(shifted(0.5), samples.held_out_rows).detach()
    advantage = samples.action[samples.held_out_rows, 0]
    found = certify(x, advantage, samples.episode[samples.held_out_rows], 0.8)
    assert 0.3 < found.surrogate_lower < 0.5  # the mean of N(0.5, 1), less sampling error


def test_a_checkpoint_that_kept_less_is_not_gone_on_from(tmp_path):
    old = Checkpoint(tmp_path, 3, {"training": {"anchor": torch.zeros(2)}}, {"facts": {}})
    with pytest.raises(RunError, match="was written by an older version of gipo"):
        restore(CONFIG, old, torch.device("cpu"))


@pytest.mark.parametrize(
    ("bounds", "patience", "stalled"),
    [
        ([0.1, 0.2, 0.3], 0, False),  # off
        ([0.3, 0.2, 0.1], 3, False),  # three reports, and nothing before them to compare with
        ([0.3, 0.2, 0.1, 0.3], 3, True),  # as good as the best is no better
        ([0.3, 0.2, 0.1, 0.31], 3, False),
        ([0.3, 0.2, 0.4, 0.1], 2, False),
        ([0.3, 0.2, 0.4, 0.1, 0.2], 2, True),
        ([None, None, None], 1, False),
    ],
)
def test_a_run_has_stalled_when_its_last_reports_bring_no_new_best(bounds, patience, stalled):
    assert has_stalled(bounds, patience) is stalled
