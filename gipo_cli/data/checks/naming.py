"""What recorded values are: log-probs, or what becomes log-probs by undoing a mistake.

A judge (`judges.py`) says whether values may be the log-probs. Each undoing of a known mistake is tried on the values;
the one after which the judge is content names the mistake, and is its repair.
"""

from dataclasses import dataclass

import numpy as np

from gipo_cli.data.checks.gaussian_law import Law
from gipo_cli.data.checks.judges import MOSTLY_CLOSE, SLACK, Clone, Fit, Judge, KnownPolicy, mean_and_error
from gipo_cli.data.checks.reference import fitted_to_values
from gipo_cli.data.checks.sample import Sample
from gipo_cli.data.findings import Finding
from gipo_cli.data.log_prob_errors import LOG_PROB_ERRORS, LogProbError

SHIFTS = ("late-by-one-step", "early-by-one-step")
SHIFT_MARGIN = 0.1  # of rank correlation, by which a neighbouring row has to fit better
TELLING = 0.3  # of rank correlation; right log-probs have 0.6 and more with a clone of even thirteen narrow policies
TEMPERATURES = np.geomspace(0.2, 5, 41)
REFINEMENTS = 3
UNCHANGED = 1.2  # temperatures nearer to 1 than this factor are not told from it where beta is only cloned
# By which an undoing has to bring closer to the log-probs what is itself not told from them. Measured: 2.4 at most on
# right log-probs of narrow policies, 4.7 at least on wrong ones.
MUCH_CLOSER = 4
CLOSER = 2  # as much, of what may be right by its mean ratios and cannot be by how it varies
EXPLAINED = 0.95  # share of the values' variance that a density fitted to them must explain to say what they are
SURE = 4  # standard errors by which actions have to be likelier than under the policy that is said to have drawn them
OTHERS_LIKELIER = 0.1  # nats a step by which a clone beats another policy whose log-probs these are

UNEXPLAINED = "unexplained-log-probs"
EFFECT = "every importance ratio is wrong, and with it every weight, every bound and every verdict."


def diagnose(judge: Judge, sample: Sample) -> list[Finding]:
    """Name what the values are: log-probs, or what becomes log-probs by one undoing, after a shift by a row or none."""
    values, found = sample.values, []
    shift = _shift(judge, sample)
    if shift is not None:
        values = _undone(shift, values, sample)
        found.append(_mistake(shift, judge.fit(values)))
    named = _of_fitted_density(judge, values) or _named(judge, sample, values)
    if named.name == UNEXPLAINED:  # a second mistake may hide behind a sign
        other = _named(judge, sample, -values)
        if any(other.name == error.name for error in LOG_PROB_ERRORS):
            flipped = next(error for error in LOG_PROB_ERRORS if error.name == "sign-flipped")
            return [*found, _mistake(flipped, judge.fit(values)), other]
    return found if found and named.severity == "ok" else [*found, named]


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


@dataclass(frozen=True)
class Candidate:
    """Values that may be the log-probs, what made them of those recorded, and what the judge says of them."""

    values: np.ndarray
    fit: Fit
    law: Law | None
    mute: bool  # whether the judge's clone is too wide to say that they are not
    error: LogProbError | None = None  # that was undone
    temperature: float | None = None  # that was undone

    @property
    def lawful(self) -> bool:
        """Whether they vary given the state as log-probs do, where that can be told."""
        return self.law is None or self.law.holds()

    @property
    def doubtful(self) -> bool:
        """Whether they may be the log-probs although they do not fit."""
        return self.mute or not self.fit.decided


def _named(judge: Judge, sample: Sample, values: np.ndarray) -> Finding:
    """The mistake by whose undoing the values become log-probs, or that they are log-probs as far as can be told."""
    as_it_is, others = _candidates(judge, sample, values)
    fit = as_it_is.fit
    if fit.well and as_it_is.lawful:
        return _verified(judge, as_it_is)
    if as_it_is.mute and as_it_is.lawful:
        return _undecided(judge, as_it_is)
    closer = fit.score / (MUCH_CLOSER if not fit.decided else CLOSER if fit.well else 1)
    lawful = [other for other in others if other.lawful]
    undone = [other for other in lawful if other.fit.score < closer]
    for passes in (lambda fit: fit.well, lambda fit: fit.perhaps):
        fitting = [other for other in undone if passes(other.fit)]
        if fitting:
            return _undoing(judge, fitting, fit)
        if fit.perhaps and as_it_is.lawful:
            return _verified(judge, as_it_is)
    if np.ptp(sample.values) == 0:
        return _constant(float(values[0]), fit)
    open_to_doubt = [other for other in (undone if as_it_is.lawful else lawful) if other.doubtful]
    if open_to_doubt and (fit.decided or not as_it_is.lawful):
        return _undoing(judge, open_to_doubt, fit)  # what was recorded is wrong for certain, this may be right
    if fit.perhaps:
        return _verified(judge, as_it_is)
    return _of_no_table(judge, values, fit, as_it_is.law) if fit.decided else _undecided(judge, as_it_is)


def _candidates(judge: Judge, sample: Sample, values: np.ndarray) -> tuple[Candidate, list[Candidate]]:
    """The values as they are, and after each undoing that leaves most of the rows a value."""
    tried = [(error, _undone(error, values, sample)) for error in LOG_PROB_ERRORS if error.name not in SHIFTS]
    tried = [(error, undone) for error, undone in tried if np.isfinite(undone).mean() > MOSTLY_CLOSE]
    law, *laws = judge.laws([values, *(undone for _, undone in tried)])
    others = [
        _candidate(judge, undone, its_law, error=error) for (error, undone), its_law in zip(tried, laws, strict=True)
    ]
    if law is not None and law.is_tempered():
        others.append(_candidate(judge, law.at_one(values, sample), None, temperature=law.temperature))
    return _candidate(judge, values, law), others


def _candidate(
    judge: Judge,
    values: np.ndarray,
    law: Law | None,
    error: LogProbError | None = None,
    temperature: float | None = None,
) -> Candidate:
    fit = judge.fit(values)
    mute = not (fit.perhaps or fit.too_high) and _tells_nothing(judge, values)
    return Candidate(values, fit, law, mute, error, temperature)


def _undoing(judge: Judge, candidates: list[Candidate], as_it_is: Fit) -> Finding:
    """The one that fits best; a temperature, which could be any, has to fit far better than a mistake of the table."""
    best = min(candidates, key=lambda c: c.fit.score * (CLOSER if c.error is None else 1))
    if best.error is not None:
        return _mistake(best.error, as_it_is)
    assert best.temperature is not None
    return _at_temperature(judge, best.temperature)


def _of_no_table(judge: Judge, values: np.ndarray, fit: Fit, law: Law | None) -> Finding:
    """What no entry of LOG_PROB_ERRORS explains: a constant, another temperature, several policies, or another one."""
    if isinstance(judge, KnownPolicy) and judge.divides(values):
        others = 1 - float(judge.agree(values).mean())
        return Finding(
            "several-policies", "error", others,
            f"{others:.1%} of the steps, in whole episodes, have log-probs of another policy than the one that the log "
            "carries.",
            "training would start at ratio 1 for the steps of that one alone.", "drop-weights",
        )  # fmt: skip
    explanations = (_offset,) if law is not None else (_offset, _temperature)  # the law knows temperatures better
    explained = [named for explain in explanations if (named := explain(judge, values, fit))]
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
        UNEXPLAINED, "warning" if fit.hardly else "error", fit.distance,
        f"the mean ratio of a clone to the log-probs is e^{fit.distance:+.2f} where it has to be 1, and no mistake "
        "that is known explains it.",
        EFFECT,
        hint="Another policy's, another column's, or of actions that were changed after they were sampled?",
    )  # fmt: skip


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

    def likelier(temperature: float) -> np.ndarray:
        # Among the actions that can be compared: a wider policy would have drawn more of those that were left out.
        at_it = fitted.log_prob(temperature) - fitted.log_mass(temperature)
        return (at_it - (values - fitted.log_mass(1.0)))[rows]

    def likelihood(temperature: float) -> float:
        return float(likelier(temperature).mean())

    likeliest, step = max(TEMPERATURES, key=likelihood), TEMPERATURES[1] / TEMPERATURES[0]
    drawn_at = float(max(likeliest * np.geomspace(1 / step, step, 21), key=likelihood))
    if likeliest in (TEMPERATURES[0], TEMPERATURES[-1]):
        plain = judge.reference.log_prob() - judge.reference.log_mass(1.0)
        gap = float(plain[rows].mean() - (fitted.log_prob() - fitted.log_mass(1.0))[rows].mean())
        if gap < OTHERS_LIKELIER:
            return None  # where the policy draws alike among some choices, any temperature is as likely
        return Finding(
            "other-policy", "error", gap,
            f"the log-probs are those of a policy, but not of the one that drew the actions: a clone of that one makes "
            f"them {gap:.2f} nats a step likelier.",
            EFFECT, hint="Another policy's column, or a --behaviour that did not act?",
        )  # fmt: skip
    # No density makes actions likelier, on average, than the one that drew them (Gibbs).
    gain, error = mean_and_error(likelier(drawn_at), judge.sample.episode[rows])
    if 1 / UNCHANGED < drawn_at < UNCHANGED or gain < SURE * error:
        return None
    return _at_temperature(judge, 1 / drawn_at)


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


def _verified(judge: Judge, as_it_is: Candidate) -> Finding:
    if isinstance(judge, KnownPolicy):
        share = float(judge.agree(judge.sample.values).mean())
        return Finding("log-probs", "ok", share, f"{share:.1%} of the log-probs are those of the policy in the log.")
    ratio = float(np.exp(as_it_is.fit.distance))
    return Finding(
        "log-probs", "ok", ratio,
        f"the mean ratio of a clone to the log-probs is {ratio:.3f} at worst, 1 within noise{_by_law(as_it_is.law)}.",
    )  # fmt: skip


def _undecided(judge: Judge, as_it_is: Candidate) -> Finding:
    assert isinstance(judge, Clone)
    gap = judge.gap(as_it_is.values)
    return Finding(
        "log-probs", "ok", gap,
        f"a clone misses the policy by {gap:.2g} nats a step if the log-probs are right: too far to verify them"
        f"{_by_law(as_it_is.law)}.",
        hint="The policy itself would: --behaviour POLICY.safetensors",
    )  # fmt: skip


def _by_law(law: Law | None) -> str:
    if law is None or not law.holds():
        return ""
    return f"; given the state they vary {law.variance:.2f} times as much as a Gaussian's do, 1 within noise"


def _mistake(error: LogProbError, as_it_is: Fit) -> Finding:
    return Finding(error.name, "error", as_it_is.distance, f"the log-probs are {error.what}.", EFFECT, error.repair)


def _at_temperature(judge: Judge, temperature: float) -> Finding:
    return Finding(
        "temperature", "error", temperature,
        f"the log-probs are those of the policy at temperature {temperature:.3g}, the actions were drawn at 1.",
        EFFECT, "recompute" if isinstance(judge, KnownPolicy) else "",
        "" if isinstance(judge, KnownPolicy) else "Recompute them from the policy: --behaviour POLICY.safetensors",
    )  # fmt: skip


def _constant(value: float, fit: Fit) -> Finding:
    return Finding(
        "constant-log-probs", "error", value,
        f"every log-prob is {value:.4g}, and the policy that acted was not uniform (off by {fit.distance:+.2f} nats).",
        "a placeholder in place of beta makes the ratio pi itself.",
        hint="Recompute them from the policy: --behaviour POLICY.safetensors",
    )  # fmt: skip
