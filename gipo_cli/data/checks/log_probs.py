"""Whether the recorded log-probs are those of the logged actions, and if not, what they are instead.

A judge (`judges.py`) says whether values may be the log-probs. Each undoing of a known mistake is tried on the values;
the one after which the judge is content names the mistake, and is its repair.
"""

from dataclasses import replace

import numpy as np
import torch

from gipo_cli.data.checks.judges import MOSTLY_CLOSE, SLACK, Clone, Fit, Judge, KnownPolicy
from gipo_cli.data.checks.reference import Reference, at_another_age, clone_of, fitted_to_values
from gipo_cli.data.checks.sample import Sample, draw
from gipo_cli.data.findings import Finding
from gipo_cli.data.log_prob_errors import LOG_PROB_ERRORS, LogProbError, uniform_log_prob
from gipo_cli.data.trajectories import Trajectories
from gipo_cli.errors import DataError

ROWS = 50_000
MOST_NUMBERS = 2**26  # of observations in memory, 256 MiB: fewer rows where each is a picture
FEWEST_ROWS, FEWEST_EPISODES = 1500, 15  # fewer cannot tell a mistake from noise
SHIFTS = ("late-by-one-step", "early-by-one-step")
SHIFT_MARGIN = 0.1  # of rank correlation, by which a neighbouring row has to fit better
TELLING = 0.3  # of rank correlation; right log-probs have 0.6 and more with a clone of even thirteen narrow policies
TEMPERATURES = np.geomspace(0.2, 5, 41)
REFINEMENTS = 3
UNCHANGED = 1.2  # temperatures nearer to 1 than this factor are not told from it where beta is only cloned
# By which an undoing has to bring closer to the log-probs what is itself not told from them. Measured: 2.4 at most on
# right log-probs of narrow policies, 4.7 at least on wrong ones.
MUCH_CLOSER = 4
EXPLAINED = 0.95  # share of the values' variance that a density fitted to them must explain to say what they are
LIKELIER = 0.02  # nats a step that another temperature has to make the actions likelier; masked choices: 0.011
SEVERAL_POLICIES = 0.1  # nats a step by which the age of the policy predicts the actions

EFFECT = "every importance ratio is wrong, and with it every weight, every bound and every verdict."


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


def diagnose(judge: Judge, sample: Sample) -> list[Finding]:
    """Name what the values are: log-probs, or what becomes log-probs by one undoing, after a shift by a row or none."""
    values, found = sample.values, []
    shift = _shift(judge, sample)
    if shift is not None:
        values = _undone(shift, values, sample)
        found.append(_mistake(shift, judge.fit(values)))
    as_it_is = judge.fit(values)
    drawn_otherwise = _of_fitted_density(judge, values)
    if drawn_otherwise is not None:
        return [*found, drawn_otherwise]
    if as_it_is.well:
        return found or [_verified(judge, as_it_is)]
    if not (as_it_is.perhaps or as_it_is.too_high) and _tells_nothing(judge, values):
        return found or [_undecided(judge, values)]
    tried = [(error, _undone(error, values, sample)) for error in LOG_PROB_ERRORS if error.name not in SHIFTS]
    undone = [(judge.fit(v), error) for error, v in tried if np.isfinite(v).mean() > MOSTLY_CLOSE]
    closer = as_it_is.score if as_it_is.decided else as_it_is.score / MUCH_CLOSER
    undone = [(fit, error) for fit, error in undone if fit.score < closer]
    for passes in (lambda fit: fit.well, lambda fit: fit.perhaps):
        fitting = [(fit.score, error) for fit, error in undone if passes(fit)]
        if fitting:
            return [*found, _mistake(min(fitting, key=lambda pair: pair[0])[1], as_it_is)]
        if as_it_is.perhaps:
            return found or [_verified(judge, as_it_is)]
    if np.ptp(sample.values) == 0:
        return [_constant(float(values[0]), as_it_is)]
    if not as_it_is.decided:
        return found or [_undecided(judge, values)]
    open_to_doubt = [(fit.score, error) for fit, error in undone if not fit.decided]
    if open_to_doubt:  # the values are wrong for certain, and after this undoing they may be right
        return [*found, _mistake(min(open_to_doubt, key=lambda pair: pair[0])[1], as_it_is)]
    return [*found, _of_no_table(judge, values, as_it_is)]


def _of_no_table(judge: Judge, values: np.ndarray, fit: Fit) -> Finding:
    """What no entry of LOG_PROB_ERRORS explains: a constant, another temperature, several policies, or another one."""
    if isinstance(judge, KnownPolicy) and judge.divides(values):
        others = 1 - float(judge.agree(values).mean())
        return Finding(
            "several-policies", "error", others,
            f"{others:.1%} of the steps, in whole episodes, have log-probs of another policy than the one that the log "
            "carries.",
            "training would start at ratio 1 for the steps of that one alone.", "drop-weights",
        )  # fmt: skip
    explained = [named for explain in (_offset, _temperature) if (named := explain(judge, values, fit))]
    if explained:
        return min(explained, key=lambda pair: pair[0])[1]
    if isinstance(judge, KnownPolicy):
        agree = float(judge.agree(values).mean())
        return Finding(
            "other-policy" if agree < 1 - MOSTLY_CLOSE else "some-rows-differ", "error", fit.distance,
            f"the log-probs are not those of the policy that the log carries; they differ by {fit.distance:.3g} nats "
            f"in the median, and {agree:.1%} of the rows agree.",
            EFFECT, "recompute", "If the log-probs are right and the policy is not: --repair drop-weights",
        )  # fmt: skip
    return Finding(
        "unexplained-log-probs", "warning" if fit.hardly else "error", fit.distance,
        f"the mean ratio of a clone to the log-probs is e^{fit.distance:+.2f} where it has to be 1, and no mistake "
        "that is known explains it.",
        EFFECT,
        hint="Another policy's, another column's, or of actions that were changed after they were sampled?\n"
        "If you know better: --accept unexplained-log-probs",
    )  # fmt: skip


def _policy_of(log: Trajectories, sample: Sample) -> Reference:
    from gipo_cli.policies.weights import policy_from_weights

    assert log.behaviour_weights is not None
    policy = policy_from_weights(log.behaviour_weights, f"the behaviour policy in {log.name}")
    spec, observed = policy.spec, sample.observations.shape[1]
    if spec.observation_size != observed:
        raise DataError(f"{log.name}: its policy takes {spec.observation_size} observations, the log has {observed}.")
    size = log.action_space.n or sample.actions.shape[-1]
    if (spec.distribution, spec.action_size) != (log.convention, size):
        raise DataError(
            f"{log.name}: its policy is {spec.distribution} with {spec.action_size} actions, "
            f"the log {log.convention} with {size}."
        )
    return Reference(policy, sample.observations, sample)


def _shift(judge: Judge, sample: Sample) -> LogProbError | None:
    """The shift by a row after which the values rise and fall with the reference, where it is clearly better so."""
    if np.ptp(sample.values) == 0:
        return None
    expected = judge.reference.log_prob()
    here = _rank_correlation(sample.values, expected, sample)
    found = {
        error.name: (_rank_correlation(_undone(error, sample.values, sample), expected, sample), error)
        for error in LOG_PROB_ERRORS
        if error.name in SHIFTS
    }
    best, error = max(found.values(), key=lambda pair: abs(pair[0]))
    return error if abs(best) > abs(here) + SHIFT_MARGIN else None


def _tells_nothing(judge: Judge, values: np.ndarray) -> bool:
    """Whether the clone is so much wider than the policy that it knows nothing of what makes the values rise and fall.

    Its mean ratios are then below 1 for right log-probs too: nearly all of its mass lies where no step was logged.
    """
    if not isinstance(judge, Clone) or np.ptp(values[np.isfinite(values)]) == 0:
        return False
    return abs(_rank_correlation(values, judge.reference.log_prob(), judge.sample)) < TELLING


def _rank_correlation(values: np.ndarray, expected: np.ndarray, sample: Sample) -> float:
    rows = sample.usable & np.isfinite(values)
    if rows.sum() < 2 or np.ptp(values[rows]) == 0 or np.ptp(expected[rows]) == 0:
        return 0.0
    found, wanted = (np.argsort(np.argsort(column[rows])) for column in (values, expected))
    return float(np.corrcoef(found, wanted)[0, 1])


def _undone(error: LogProbError, values: np.ndarray, sample: Sample) -> np.ndarray:
    undone = error.undo(values, sample.around)
    return np.full(values.shape, np.nan) if undone is None else undone


def _offset(judge: Judge, values: np.ndarray, as_it_is: Fit) -> tuple[float, Finding] | None:
    if isinstance(judge, Clone):
        offset = float(np.mean([ratio.log_mean for ratio in judge.mean_ratios(values)]))
    else:
        offset = float(np.nanmedian(judge.reference.log_prob() - values))
    fit = judge.fit(values + offset)
    if not fit.well or (isinstance(judge, Clone) and abs(offset) < SLACK):
        return None
    return fit.score, Finding(
        "constant-offset", "error", offset,
        f"the log-probs are {abs(offset):.3g} nats too {'low' if offset > 0 else 'high'} at every step.",
        EFFECT, hint="A Jacobian of scaled actions is such a constant: sum log((high - low) / 2). If it is, store the "
        "bounds\nof the actions with the log, and --repair action-scale takes it out.",
    )  # fmt: skip


def _temperature(judge: Judge, values: np.ndarray, as_it_is: Fit) -> tuple[float, Finding] | None:
    """The temperature at which the policy has these log-probs although the actions were drawn at 1."""
    plain = judge.reference.log_prob()

    def distance_at(temperature: float) -> float:
        # Values of a policy at T become those at 1 by the reference's own difference.
        return judge.fit(values + plain - judge.reference.log_prob(temperature)).score

    temperature, step = min(TEMPERATURES, key=distance_at), TEMPERATURES[1] / TEMPERATURES[0]
    for _ in range(REFINEMENTS):
        temperature = float(min(temperature * np.geomspace(1 / step, step, 21), key=distance_at))
        step **= 0.1
    distance = distance_at(temperature)
    if isinstance(judge, KnownPolicy):
        matches = judge.fit(values + plain - judge.reference.log_prob(temperature)).perhaps
    else:
        # The difference is that of a clone: it takes the mean ratio most of the way, not all of it.
        matches = distance < as_it_is.score / 2 and not 1 / UNCHANGED < temperature < UNCHANGED
    return (distance, _at_temperature(judge, temperature)) if matches else None


def _of_fitted_density(judge: Judge, values: np.ndarray) -> Finding | None:
    """Where a density can be fitted to the values themselves, whether it is the one that drew the actions.

    Values that are log-probs of some policy can be learned as such. If the actions are likeliest under that policy at
    another temperature, they were drawn at it, which mean ratios cannot tell where the states are few; if they are
    likeliest where it hardly matters, another policy drew them.
    """
    if not isinstance(judge, Clone) or np.ptp(values[np.isfinite(values)]) == 0:
        return None
    fitted = fitted_to_values(judge.reference, values, judge.held_out)
    rows = judge.held_out & judge.sample.usable & np.isfinite(values)
    missed = (values - fitted.log_prob())[rows]
    if np.var(missed) > (1 - EXPLAINED) * np.var(values[rows]) or abs(np.median(missed)) > SLACK:
        return None

    def likelihood(temperature: float) -> float:
        # Among the actions that can be compared: a wider policy would have drawn more of those that were left out.
        return float((fitted.log_prob(temperature) - fitted.log_mass(temperature))[rows].mean())

    likeliest, step = max(TEMPERATURES, key=likelihood), TEMPERATURES[1] / TEMPERATURES[0]
    temperature = 1 / float(max(likeliest * np.geomspace(1 / step, step, 21), key=likelihood))
    if likeliest in (TEMPERATURES[0], TEMPERATURES[-1]):
        plain = judge.reference.log_prob() - judge.reference.log_mass(1.0)
        gap = float(plain[rows].mean()) - likelihood(1.0)
        if gap < SEVERAL_POLICIES:
            return None  # where the policy draws alike among some choices, any temperature is as likely
        return Finding(
            "other-policy", "error", gap,
            f"the log-probs are those of a policy, but not of the one that drew the actions: a clone of that one makes "
            f"them {gap:.2f} nats a step likelier.",
            EFFECT, hint="Another policy's column, or a --behaviour that did not act?",
        )  # fmt: skip
    gain = likelihood(1 / temperature) - likelihood(1.0)
    return None if 1 / UNCHANGED < temperature < UNCHANGED or gain < LIKELIER else _at_temperature(judge, temperature)


def _at_temperature(judge: Judge, temperature: float) -> Finding:
    return Finding(
        "temperature", "error", temperature,
        f"the log-probs are those of the policy at temperature {temperature:.3g}, the actions were drawn at 1.",
        EFFECT, "recompute" if isinstance(judge, KnownPolicy) else "",
        "" if isinstance(judge, KnownPolicy) else "Recompute them from the policy: --behaviour POLICY.safetensors",
    )  # fmt: skip


def _verified(judge: Judge, fit: Fit) -> Finding:
    if isinstance(judge, KnownPolicy):
        share = float(judge.agree(judge.sample.values).mean())
        return Finding("log-probs", "ok", share, f"{share:.1%} of the log-probs are those of the policy in the log.")
    ratio = float(np.exp(fit.distance))
    return Finding(
        "log-probs", "ok", ratio, f"the mean ratio of a clone to the log-probs is {ratio:.3f} at worst, 1 within noise."
    )


def _undecided(judge: Judge, values: np.ndarray) -> Finding:
    assert isinstance(judge, Clone)
    gap = judge.gap(values)
    return Finding(
        "log-probs", "ok", gap,
        f"a clone misses the policy by {gap:.2g} nats a step if the log-probs are right: too far to verify them.",
        hint="The policy itself would: --behaviour POLICY.safetensors",
    )  # fmt: skip


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


def _mistake(error: LogProbError, as_it_is: Fit) -> Finding:
    return Finding(error.name, "error", as_it_is.distance, f"the log-probs are {error.what}.", EFFECT, error.repair)


def _constant(value: float, fit: Fit) -> Finding:
    return Finding(
        "constant-log-probs", "error", value,
        f"every log-prob is {value:.4g}, and the policy that acted was not uniform (off by {fit.distance:+.2f} nats).",
        "a placeholder in place of beta makes the ratio pi itself.",
        hint="Recompute them from the policy: --behaviour POLICY.safetensors",
    )  # fmt: skip


def _too_few(log: Trajectories) -> Finding:
    values = log.behaviour_log_probs
    if np.ptp(values) == 0 and abs(float(values[0]) - uniform_log_prob(log)) > SLACK:
        return Finding(
            "constant-log-probs", "warning", float(values[0]),
            f"every log-prob is {values[0]:.4g}, no uniform policy's, and there are too few steps to say more.",
            "a placeholder in place of beta makes the ratio pi itself.",
        )  # fmt: skip
    return Finding(
        "log-probs", "ok", float(log.transitions),
        f"{log.transitions:,} steps in {log.episodes:,} episodes are too few to verify the log-probs.",
    )  # fmt: skip
