"""What the held-out episodes say of the policy: figures at each report, and at the end which policy is kept."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from gipo_cli.checkpoint_files import place_of, step_of
from gipo_cli.config import TrainConfig
from gipo_cli.diagnostics.inspection import statistics
from gipo_cli.diagnostics.moments import weight_moments
from gipo_cli.objectives.effective_weight import mean_effective_weight
from gipo_cli.policies.policy import Policy
from gipo_cli.policies.slices import sliced
from gipo_cli.policies.weights import save_policy
from gipo_cli.runs import RunDirectory
from gipo_cli.training import checkpoints
from gipo_cli.training.certificate import LEVEL, Certificate, certify, surrogate_lower_bound
from gipo_cli.training.columns import taken
from gipo_cli.training.samples import Samples
from gipo_cli.training.state import Training, older_checkpoints


@torch.no_grad()
def judged_log_ratio(policy: Policy, samples: Samples) -> Tensor:
    """Log ratio of a policy on the held-out rows that judge it, [H]."""
    return sliced(partial(samples.log_ratio, policy), samples.judged_rows)


@torch.no_grad()
def held_out_figures(now: Training, samples: Samples, log_ratio: Tensor) -> dict[str, float | None]:
    """Effective sample size, KL and surrogate on the episodes that never train anything.

    ess_fraction is Kish's (sum w)^2 / (n sum w^2) of the raw ratios; kl is E[log beta - log pi] in nats; surrogate is
    the self-normalised mean of ratio * advantage less the mean advantage, in standard deviations of the advantage;
    surrogate_lower bounds it from below at 95 %, none where too few episodes are held out.

    Args:
        now: the advantages.
        samples: the log.
        log_ratio: of the policy, as `judged_log_ratio`.
    """
    rows, log_ratio = samples.judged_rows, log_ratio.double()
    advantage = taken(now.advantage, rows).double()
    weight = (log_ratio - log_ratio.max()).exp()  # a constant factor changes none of the three
    return {
        "ess_fraction": (weight.sum() ** 2 / (len(weight) * (weight**2).sum())).item(),
        "kl": -log_ratio.mean().item(),
        "surrogate": ((weight * advantage).sum() / weight.sum() - advantage.mean()).item(),
        "surrogate_lower": surrogate_lower_bound(
            log_ratio.cpu().numpy(), advantage.cpu().numpy(), taken(samples.episode, rows).cpu().numpy(), LEVEL
        ),
    }


@torch.no_grad()
def held_out_weights(
    now: Training, samples: Samples, log_ratio: Tensor, objective: Callable[..., Tensor], settings: dict[str, float]
) -> dict[str, float | None]:
    """What `gipo inspect-weights` says of the held-out steps, as far as it is one number; None where it is not known.

    Args:
        now: the policy and the advantages.
        samples: the log.
        log_ratio: of the policy, as `judged_log_ratio`.
        objective: whose weights are meant.
        settings: of the objective.
    """
    rows, parts = samples.judged_rows, log_ratio[:, None]
    if samples.behaviour_log_prob_parts is not None:
        parts = sliced(partial(samples.log_ratio_parts, now.policy), rows)
    of_rows = taken(now.advantage, rows).double()
    weight = mean_effective_weight(objective, parts.double(), of_rows, **settings)
    columns = (log_ratio.double(), of_rows, weight)
    x, advantage, trust = (column.cpu().numpy() for column in columns)
    found = statistics(x, advantage, trust)
    second = weight_moments(2 * x)["mean"]
    return {
        "ess_fraction_trust_weighted": found["trust_weighted"]["ess_fraction"],
        "pareto_k": found["raw"]["pareto_k"],
        "mean_ratio": found["raw"]["mean"],
        "kl_k3": found["kl"]["k3"],
        "chi2": None if second is None else second - 1,
        **{name: found[name] for name in ("ppo_dead_fraction", "outside_clip_fraction", "suppressed_fraction")},
    }


def has_stalled(bounds: Sequence[float | None], patience: int) -> bool:
    """Whether the last `patience` of the reports' lower bounds brought none above the best before them.

    The bound rises while the policy gains more than it loses in effective samples. A patience of 0 waits for ever, and
    so does one where nothing can be bounded.
    """
    known = [bound for bound in bounds if bound is not None]
    return 0 < patience < len(known) and max(known[-patience:]) <= max(known[:-patience])


@torch.no_grad()
def judge(config: TrainConfig, now: Training, samples: Samples, run: RunDirectory) -> None:
    """Keep the newest policy that the held-out episodes bear out: the last, a checkpoint that is kept, or the start.

    Each of the n policies looked at has to hold at the level 1 - 0.05 / n, so that to look n times raises no hopes.
    What was trained stays in trained.safetensors where another policy is kept.
    """
    # An interruption leaves a checkpoint of its own, which must not change what an uninterrupted run would keep.
    older = [place_of(run.path, step) for step in reversed(older_checkpoints(config, now.step))]
    level = 1 - (1 - LEVEL) / (1 + len(older))
    found, kept = _certificate(now.policy, now, samples, level), now.step
    trained = found
    if not found.certified and config.certify:
        kept, found = 0, trained
        for path in older:
            if not checkpoints.is_whole(path):
                continue
            candidate = checkpoints.policy_of(checkpoints.load(path)).to(samples.device)
            judged = _certificate(candidate, now, samples, level)
            if judged.certified:
                kept, found = step_of(path), judged
                break
        save_policy(now.policy, run.path / "trained.safetensors")
        now.policy.load_state_dict(checkpoints.load(place_of(run.path, kept)).tensors["policy"])
    now.facts["certificate"] = {
        **found.to_dict(),
        "level": level,
        "kept": "trained policy" if kept else "starting policy",
        "kept_step": kept,
        "last": trained.to_dict(),
    }


def _certificate(policy: Policy, now: Training, samples: Samples, level: float) -> Certificate:
    rows = samples.judged_rows
    log_ratio = judged_log_ratio(policy, samples)
    explained_lower = now.facts["critic"]["explained_lower"]
    advantage, episode = taken(now.advantage, rows), taken(samples.episode, rows)
    return certify(log_ratio, advantage, episode, explained_lower, level)
