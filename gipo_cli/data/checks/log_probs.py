"""Whether the recorded log-probs are those of the logged actions, by a sample of whole episodes and a judge."""

from dataclasses import replace

import numpy as np
import torch

from gipo_cli.data.checks.judges import SLACK, Clone, Judge, KnownPolicy
from gipo_cli.data.checks.naming import diagnose
from gipo_cli.data.checks.reference import Reference, at_another_age, clone_of
from gipo_cli.data.checks.sample import Sample, draw
from gipo_cli.data.checks.structure import is_constant
from gipo_cli.data.findings import Finding
from gipo_cli.data.log_prob_errors import uniform_log_prob
from gipo_cli.data.trajectories import Trajectories
from gipo_cli.errors import DataError
from gipo_cli.policies.acting import by

ROWS = 50_000
MOST_NUMBERS = 2**26  # of observations in memory, 256 MiB: fewer rows where each is a picture
FEWEST_ROWS, FEWEST_EPISODES = 1500, 15  # fewer cannot tell a mistake from noise
SEVERAL_POLICIES = 0.1  # nats a step by which the age of the policy predicts the actions


def check_log_probs(log: Trajectories) -> list[Finding]:
    """Findings on the log-probs: an `ok` with the evidence, or the mistakes in the order in which to undo them."""
    # One thread: the same verdict on any number of cores.
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return list(_findings(log))
    finally:
        torch.set_num_threads(threads)


def _findings(log: Trajectories) -> list[Finding]:
    size = log.observations[0].size
    sample = draw(log, min(ROWS, max(FEWEST_ROWS, MOST_NUMBERS // size)), FEWEST_EPISODES)
    if log.behaviour_weights is not None and log.log_probs_origin == "recorded":
        if not sample.usable.any():
            return []
        judge: Judge = KnownPolicy(_policy_of(log, sample), sample)
    else:
        if sample.usable.sum() < FEWEST_ROWS or sample.episode[-1] + 1 < FEWEST_EPISODES:
            return [] if log.log_probs_origin == "estimated" else [_too_few(log)]
        judge = Clone(log, sample)
    if log.log_probs_origin == "estimated":
        return _several_policies(log, judge) if log.policy_versions is None else []
    found = diagnose(judge, sample)
    if isinstance(judge, Clone) and log.policy_versions is None and not any(f.severity == "error" for f in found):
        found += _several_policies(log, judge)
    return found


def _policy_of(log: Trajectories, sample: Sample) -> Reference:
    from gipo_cli.policies.weights import policy_from_weights

    assert log.behaviour_weights is not None
    policy = policy_from_weights(log.behaviour_weights, f"the behaviour policy in {log.name}")
    spec, observed = policy.spec, sample.observations.shape[1]
    if spec.observation_size != observed:
        raise DataError(f"{log.name}: its policy takes {spec.observation_size} observations, the log has {observed}.")
    acted = log.action_space.dimensions
    if (spec.distribution, spec.dimensions) != (log.convention, acted):
        raise DataError(
            f"{log.name}: its policy is {spec.distribution} with {by(spec.dimensions)} actions, "
            f"the log {log.convention} with {by(acted)}."
        )
    return Reference(policy, sample.observations, sample)


def _several_policies(log: Trajectories, judge: Judge) -> list[Finding]:
    """Whether the policy changed along the log: its age then predicts actions that the clone has not seen.

    A clone asked at another age is at a loss too where the states changed along the log and the policy did not, so one
    that was never told the age has the last word. Measured against that one: -0.1 to 0.0 for one policy, 0.06 for three
    in places of their own, 0.23 for thirteen.
    """
    if not isinstance(judge, Clone) or not _gain(judge, at_another_age(judge.reference), SEVERAL_POLICIES, 3):
        return []
    ageless, _ = clone_of(log, replace(judge.sample, age=np.zeros(len(judge.sample.age))))
    nats = _gain(judge, ageless, 0.0, 1)
    if not nats:
        return []
    return [Finding(
        "several-policies", "warning", nats,
        f"the policy changed along the log: knowing when a step was taken tells {nats:.2f} nats about its action.",
        "a clone of 'the' behaviour policy is a mixture; ratios stay exact, since every step has its own log-prob.",
        hint="Store the policy's version of each step (infos/policy_versions) where it is known.",
    )]  # fmt: skip


def _gain(judge: Clone, other: Reference, least: float, errors: int) -> float:
    """Nats a step by which the clone foretells actions better than another; 0 where that is little, or noise."""
    rows = judge.held_out & judge.sample.usable
    gain, episode = (judge.reference.log_prob() - other.log_prob())[rows], judge.sample.episode[rows]
    sums, counts = np.bincount(episode, gain), np.bincount(episode)
    means = sums[counts > 0] / counts[counts > 0]
    nats = float(gain.mean())
    return nats if nats - errors * float(means.std() / len(means) ** 0.5) > least else 0.0


def _too_few(log: Trajectories) -> Finding:
    values = log.behaviour_log_probs
    if is_constant(values) and abs(float(values[0]) - uniform_log_prob(log)) > SLACK:
        return Finding(
            "constant-log-probs", "warning", float(values[0]),
            f"every log-prob is {values[0]:.4g}, no uniform policy's, and there are too few steps to say more.",
            "a placeholder in place of beta makes the ratio pi itself.",
        )  # fmt: skip
    return Finding(
        "log-probs", "ok", float(log.transitions),
        f"{log.transitions:,} steps in {log.episodes:,} episodes are too few to verify the log-probs.",
    )  # fmt: skip
