"""From numbers to findings, and from findings to one word."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from gipo_cli.diagnostics import Finding, Level
from gipo_cli.diagnostics.by_episode import Episodes
from gipo_cli.diagnostics.concentration import Bounds
from gipo_cli.diagnostics.horizon import ENOUGH, FEWEST, Degeneracy
from gipo_cli.diagnostics.pareto_k import WORST_GOOD, good_below, samples_needed
from gipo_cli.diagnostics.sigma_curve import SigmaError, least

Verdict = Literal["trust", "caution", "distrust"]

VERL = "verl, rollout_corr"
AUTHORS = "GIPO's authors, AcceRL docs/clip_metrics.md"
VEHTARI = "Vehtari et al., arXiv:1507.02646"
OURS = "this tool's choice"

ESS_LOW = 0.3  # verl
ESS_VERY_LOW = 0.1  # ours: below, nine samples in ten carry nothing
MEAN_RATIO_RANGE = (0.5, 2.0)  # verl
STANDARD_ERRORS = 3.0  # ours: a chance of 0.3 % under a normal error
KL_MOVED = 0.1  # verl calls it an alarm; here an anchor steers KL to a target on purpose
CHI2_HIGH = 1.0  # verl
SPREAD_STABLE, SPREAD_UNSTABLE = 1.0, 2.0  # authors, of AbsLogRho_P95, in nats
SUPPRESSED_MUCH, SUPPRESSED_MOST = 0.1, 0.5  # ours
PPO_DEAD_MUCH = 0.2  # ours


def findings(split: str, figures: Any) -> list[Finding]:
    """Judge the figures of one split.

    Args:
        split: where they were measured, in words, for the meanings: "held-out transitions".
        figures: ess_raw and ess_trust (shares), pareto_k (value, number of samples), mean_ratio and kl (value, standard
            error or None), chi2, abs_log_ratio_p95, ppo_dead_fraction, suppressed_fraction; None where a number cannot
            be known.
    """
    return [
        _ess("ess_fraction_raw", "the raw ratios", figures["ess_raw"], split),
        _pareto_k(figures["pareto_k"], split),
        _ess("ess_fraction_trust_weighted", "the trust-weighted ratios", figures["ess_trust"], split),
        _mean_ratio(figures["mean_ratio"][0], figures["mean_ratio"][1], split),
        _kl(figures["kl"][0], figures["kl"][1], split),
        _chi2(figures["chi2"]),
        _spread(figures["abs_log_ratio_p95"]),
        _ppo_dead(figures["ppo_dead_fraction"]),
        _suppressed(figures["suppressed_fraction"]),
    ]


def horizon_finding(found: Degeneracy) -> Finding:
    """How far ratios may be multiplied; no warning, since neither the objective nor the surrogate multiplies any."""
    source = f"{OURS}: {ENOUGH:.0%} of the episodes effective, and {FEWEST} of them"
    longest, last = found.steps[-1], found.ess_fraction[-1]
    if found.reach == longest:
        meaning = f"multiplied along whole episodes, the ratios leave {last:.0%} of them effective."
        return Finding("horizon", found.reach, "ok", meaning, source)
    if found.episodes < FEWEST:
        meaning = f"{found.episodes} episodes are too few to tell how far along one its ratios may be multiplied."
        return Finding("horizon", found.reach, "note", meaning, source)
    few = f"{ENOUGH:.0%}" if found.episodes * ENOUGH >= FEWEST else f"{FEWEST} of {found.episodes}"
    reach = f"beyond step {found.reach:,}" if found.reach else "even at the first step"
    meaning = (
        f"multiplied along an episode, the ratios leave under {few} of the episodes effective {reach} of {longest:,}."
    )
    return Finding("horizon", found.reach, "note", meaning, source)


def bounds_finding(found: Bounds | None) -> list[Finding]:
    """Whether bounds that assume nothing of the distribution put the surrogate above 0; they need many episodes."""
    if found is None:
        return []
    lower = max(found.hoeffding[0], found.empirical_bernstein[0] if found.empirical_bernstein else -math.inf)
    source = "Hoeffding 1963; Maurer and Pontil, arXiv:0907.3740; weights of at most exp(sigma^2 / 2)"
    shown = f"whatever its distribution, the trust-weighted surrogate is above {lower:+.2f} at {found.level:.0%}"
    if lower > 0:
        return [Finding("surrogate_bound", lower, "ok", f"{shown} ({found.episodes:,} episodes).", source)]
    meaning = f"{shown}: {found.episodes:,} episodes are too few for a bound that assumes nothing to be above 0."
    return [Finding("surrogate_bound", lower, "note", meaning, source)]


def sigma_finding(curve: list[SigmaError] | None) -> list[Finding]:
    """Which sigma estimates the surrogate best at this policy; a note, since it is not the one that trains best."""
    if not curve:
        return []
    best, raw = least(curve), curve[-1]
    source = f"{OURS}: the least of squared bias and variance over episodes"
    of = "the undamped ratio" if best.sigma is None else f"sigma {best.sigma:g}"
    errors = f"off by {best.root_mean_square:.3f}; undamped {raw.root_mean_square:.3f}"
    meaning = (
        f"of sigma {curve[0].sigma:g} to {curve[-2].sigma:g} and none, {of} estimates the surrogate best ({errors})."
    )
    return [Finding("sigma", best.sigma, "note", meaning, source)]


def episodes_finding(found: Episodes) -> list[Finding]:
    """Whether a few episodes carry the weights, beyond what unequal lengths alone do."""
    share, equal = found.ess_fraction, found.ess_fraction_equal
    meaning = f"by the sums of their ratios {share:.0%} of the episodes are effective, {equal:.0%} if all ratios were 1"
    source = f"{OURS}: below {ESS_VERY_LOW}"
    if share < ESS_VERY_LOW <= equal:
        return [Finding("episodes", share, "warning", f"{meaning}: a few episodes decide.", source)]
    return [Finding("episodes", share, "ok", f"{meaning}.", source)]


def old_finding(old: Mapping[str, float | None] | None, trained_on: bool = True) -> list[Finding]:
    """What old data still teaches; a note, since the anchor and the start decide about it on purpose."""
    if old is None or not old["transition_share"]:
        return []
    weight, transitions = old["weight_share"], old["transition_share"] or 0.0
    source = f"{AUTHORS} (OldUShare)"
    if weight is None:
        return [Finding("old_share", None, "note", "the shares of old data in the weights cannot be known.", source)]
    meaning = f"the older half of the versions has {transitions:.0%} of the steps and {weight:.0%} of the weight"
    meaning += "." if trained_on else ", but training saw one version's steps alone (stale_rows=true takes all)."
    return [Finding("old_share", weight, "note", meaning, source)]


def origin_finding(log_probs: str) -> list[Finding]:
    """Log-probs that nobody recorded make every number here one of the clone that stands for beta."""
    if log_probs != "estimated":
        return []
    meaning = "the log-probs are estimated: every ratio here is pi / clone, and off by the clone's own error."
    return [Finding("log_probs_origin", None, "warning", meaning, f"{OURS}: estimates never pass for recorded ones")]


def verdict(found: Iterable[Finding]) -> Verdict:
    """One word: an alarm is "distrust", a warning "caution", otherwise "trust"."""
    levels = {finding.level for finding in found}
    return "distrust" if "alarm" in levels else "caution" if "warning" in levels else "trust"


def reasons(found: Iterable[Finding]) -> list[Finding]:
    """The findings that made the verdict, the worst first."""
    order = {"alarm": 0, "warning": 1}
    return sorted((finding for finding in found if finding.level in order), key=lambda item: order[item.level])


def _ess(name: str, of: str, value: float | None, split: str) -> Finding:
    source = f"{VERL}: below {ESS_LOW}; {OURS}: below {ESS_VERY_LOW}"
    if value is None:
        return Finding(name, None, "alarm", f"every one of {of} is 0: no sample teaches anything.", source)
    meaning = f"{of} leave {value:.0%} of the {split} effective"
    if value < ESS_VERY_LOW:
        return Finding(name, value, "alarm", f"{meaning}: a few samples decide everything.", source)
    if value < ESS_LOW:
        return Finding(name, value, "warning", f"{meaning}: estimates rest on a small part of the log.", source)
    return Finding(name, value, "ok", f"{meaning}.", source)


def _pareto_k(figures: tuple[float | None, int], split: str) -> Finding:
    value, samples = figures
    good = good_below(samples)
    source = f"{VEHTARI}: min(1 - 1 / log10(N), {WORST_GOOD}), and no mean from 1 on"
    if value is None:
        return Finding("pareto_k", None, "note", f"the raw ratios of the {split} have no tail to be judged by.", source)
    shown = f"the tail of the raw ratios over the {split} has Pareto k {value:.2f}"
    if value >= 1:
        return Finding("pareto_k", value, "alarm", f"{shown}: a mean of them never settles.", source)
    if value >= good:
        needed = samples_needed(value)
        slow = "beyond that a mean of them settles too slowly to be relied on, however many there are."
        short = f"a mean of them needs {needed:.2g} samples, there are {samples:,}."
        meaning = f"{shown}, above {good:.2f}: {short if needed > samples else slow}"
        return Finding("pareto_k", value, "warning", meaning, source)
    return Finding("pareto_k", value, "ok", f"{shown}, below {good:.2f}: a mean of them settles.", source)


def _mean_ratio(mean: float | None, error: float | None, split: str) -> Finding:
    low, high = MEAN_RATIO_RANGE
    source = f"{VERL}: outside {low}–{high}; {OURS}: more than {STANDARD_ERRORS:g} standard errors from 1"
    if mean is None:
        return Finding("mean_ratio", None, "alarm", "some ratio is beyond float64; its mean should be 1.", source)
    shown = f"the mean ratio over the {split} is {mean:.3f}" + ("" if error is None else f" ± {error:.3f}")
    if not low <= mean <= high:
        why = "do the recorded log-probs belong to the recorded actions?"
        return Finding("mean_ratio", mean, "alarm", f"{shown}, where 1 is expected: {why}", source)
    if error is None:
        return Finding("mean_ratio", mean, "note", f"{shown}; one episode alone gives no standard error.", source)
    # Rounding in stored float32 log-probs is no evidence, however small the standard error.
    if abs(mean - 1) > STANDARD_ERRORS * error + 1e-3:
        why = "the log-probs are slightly off, or the tail of the ratios is missing from the log."
        return Finding("mean_ratio", mean, "warning", f"{shown}, further from 1 than chance explains: {why}", source)
    return Finding("mean_ratio", mean, "ok", f"{shown}, as it must be where the log-probs are right (1).", source)


def _kl(k1: float, error: float | None, split: str) -> Finding:
    source = f"{VERL}: |KL| above {KL_MOVED} (a note here: the anchor steers KL on purpose)"
    if error is not None and k1 < -(STANDARD_ERRORS * error + 1e-3):
        meaning = f"KL(beta || pi) is {k1:.3f} nats, below 0 by more than chance: the log-probs cannot be beta's."
        return Finding("kl", k1, "warning", meaning, f"{source}; a KL is never negative")
    if abs(k1) > KL_MOVED:
        return Finding("kl", k1, "note", f"pi has moved {k1:.3f} nats from beta on the {split}.", source)
    return Finding("kl", k1, "ok", f"pi is within {KL_MOVED} nats of beta on the {split} ({k1:.3f}).", source)


def _chi2(value: float | None) -> Finding:
    source = f"{VERL}: above {CHI2_HIGH:g}"
    if value is None:
        return Finding("chi2", None, "warning", "mean(ratio^2) is beyond float64: its variance is unbounded.", source)
    if value > CHI2_HIGH:
        meaning = f"the chi-square distance is {value:.3g}: raw ratios more than double the variance of an estimate."
        return Finding("chi2", value, "warning", meaning, source)
    return Finding(
        "chi2", value, "ok", f"the chi-square distance is {value:.3g}: raw ratios add little variance.", source
    )


def _spread(value: float) -> Finding:
    source = f"{AUTHORS}: stable below {SPREAD_STABLE:g}, unstable above {SPREAD_UNSTABLE:g}"
    level: Level = "ok" if value < SPREAD_STABLE else "note" if value <= SPREAD_UNSTABLE else "warning"
    word = {"ok": "stable", "note": "between stable and unstable", "warning": "unstable"}[level]
    return Finding("abs_log_ratio_p95", value, level, f"95 % of |log ratio| are below {value:.2f}: {word}.", source)


def _ppo_dead(value: float) -> Finding:
    level: Level = "ok" if value < PPO_DEAD_MUCH else "note"
    meaning = f"PPO-Clip(0.2) would learn nothing from {value:.0%} of the samples."
    return Finding("ppo_dead_fraction", value, level, meaning, f"{AUTHORS} (PG_Dead_Frac); {OURS}: {PPO_DEAD_MUCH}")


def _suppressed(value: float) -> Finding:
    many, most = SUPPRESSED_MUCH, SUPPRESSED_MOST
    level: Level = "ok" if value < many else "note" if value <= most else "warning"
    meaning = f"the objective gives {value:.0%} of the samples a weight below 0.001."
    return Finding("suppressed_fraction", value, level, meaning, f"{AUTHORS} (1e-3); {OURS}: {many} and {most}")
