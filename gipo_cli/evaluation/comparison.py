"""Runs side by side: seeds fall together to methods, methods meet on logs, logs add up to one number."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from gipo_cli.errors import RunError, SettingError, unknown_name
from gipo_cli.evaluation import aggregates
from gipo_cli.evaluation.intervals import NORMAL_975, difference_of_means, gain_over_episodes, mean_over_seeds
from gipo_cli.evaluation.methods import differing, name_methods
from gipo_cli.evaluation.results import Evaluation, RunResult
from gipo_cli.evaluation.scores import score

Runs = Sequence[RunResult]
Cells = dict[tuple[str, str], list[RunResult]]  # (log, method) -> its runs
TRAINED = "trained policy"


def compare(results: Runs, by: Sequence[str] = (), baseline: str | None = None) -> dict[str, Any]:
    """Compare runs by method and log.

    Only finished runs count, with the evaluation of their last checkpoint; every other is named in `notes`.

    Args:
        results: of all runs, in the order given.
        by: configuration keys that make a method; see `name_methods`.
        baseline: the method that others are to improve on; None takes the first one.

    Returns:
        runs, logs with a cell for each method, aggregate, improvement, notes: plain values, None where unknown.

    Raises:
        SettingError: `by` or `baseline` names nothing there is, or the same run was made twice.
        RunError: runs on one log were evaluated in different environments.
    """
    methods = name_methods([run.method for run in results], by)
    logs = name_logs(results)
    cells: Cells = {}
    for run, log, method in zip(results, logs, methods, strict=True):
        cells.setdefault((log, method), []).append(run)
    log_names, method_names = list(dict.fromkeys(logs)), list(dict.fromkeys(methods))
    chosen = method_names[0] if baseline is None else baseline
    if chosen not in method_names:
        error = unknown_name("method", chosen, method_names)
        raise SettingError(f"--baseline: {error.message}", error.hint)
    notes = [*_notes_on_logs(results, logs), *_notes_on_runs(results)]
    notes += [note for (log, method), runs in cells.items() for note in _repeated(log, method, runs)]
    tables = [_log_table(log, method_names, cells) for log in log_names]
    aggregate = _aggregate(log_names, method_names, cells)
    return {
        "runs": [_row(run, log, method) for run, log, method in zip(results, logs, methods, strict=True)],
        "methods": method_names,
        "logs": tables,
        "aggregate": aggregate,
        "improvement": _improvement(chosen, log_names, method_names, cells),
        "notes": [*notes, *_notes_on_aggregate(aggregate, cells)],
    }


def name_logs(results: Runs) -> list[str]:
    """The log of each run: its name, with the start of its fingerprint where logs of one name differ."""
    keys: dict[str, list[str]] = {}
    for run in results:
        if run.log_key not in keys.setdefault(run.log, []):
            keys[run.log].append(run.log_key)
    first = {run.log_key: run.log for run in reversed(results)}  # one log under two names is one log
    named = {}
    for key, name in first.items():
        several = len(keys[name]) > 1
        named[key] = f"{name}@{key.removeprefix('sha256:')[:8]}" if several else name
    return [named[run.log_key] for run in results]


def _row(run: RunResult, log: str, method: str) -> dict[str, Any]:
    return {
        "run": str(run.path),
        "log": log,
        "method": method,
        "seed": run.seed,
        "status": run.status,
        "step": run.step,
        "evaluated_step": None if run.evaluation is None else run.evaluation.step,
        "used": run.current is not None,
        "stochastic": run.mean,
        "score": run.score,
        "kept": run.kept,
    }


def _log_table(log: str, methods: Sequence[str], cells: Cells) -> dict[str, Any]:
    here = [run for method in methods for run in cells.get((log, method), ())]
    evaluations = [run.current for run in here if run.current is not None]
    environment = _one_environment(log, here)
    with_behaviour = [found for found in evaluations if found.behaviour is not None]
    # Each run met it anew, most of them with the same starts and noise: the longest look counts, not their sum.
    behaviour = max(with_behaviour, key=lambda found: len((found.behaviour or {})["stochastic"]), default=None)
    return {
        "log": log,
        "log_key": here[0].log_key,
        "environment": environment,
        "behaviour": _behaviour(here[0], environment, behaviour),
        "cells": [_cell(method, cells[log, method], behaviour) for method in methods if (log, method) in cells],
    }


def _one_environment(log: str, runs: Runs) -> str | None:
    """Where the runs were evaluated: returns in two environments are no comparison."""
    met = {run.current.environment: run for run in runs if run.current is not None}
    if len(met) > 1:
        (name, run), (other, odd) = list(met.items())[:2]
        raise RunError(
            f"{run.path} was evaluated in {name}, {odd.path} in {other}: their returns on {log} do not compare.",
            f"Evaluate both in one: gipo evaluate {odd.path} --environment {name}",
        )
    return next(iter(met), runs[0].log_environment)


def _behaviour(run: RunResult, environment: str | None, found: Evaluation | None) -> dict[str, Any]:
    """Figures of the behaviour policy: from rollouts, or else from the logged episodes, which have no error here."""
    if found is None or found.behaviour is None:
        mean, error, modes = run.log_return, None, None
    else:
        sampled = found.behaviour["stochastic"]
        mean, error, modes = float(sampled.mean()), _standard_error(sampled), found.behaviour["deterministic"].mean()
    return {
        "from": "logged episodes" if modes is None else "rollouts",
        "stochastic": {"mean": mean, "standard_error": error},
        "deterministic": None if modes is None else float(modes),
        "score": None if mean is None or environment is None else score(environment, mean),
    }


def _cell(method: str, runs: Runs, behaviour: Evaluation | None) -> dict[str, Any]:
    finished = [run for run in runs if run.finished]
    found = [run.current for run in finished if run.current is not None]
    kept = [run.kept for run in finished if run.kept is not None]
    scores = [run.score for run in finished if run.score is not None]
    return {
        "method": method,
        "seeds": sorted(run.seed for run in finished if run.current is not None),
        "finished": len(finished),
        "unfinished": dict(Counter(run.status for run in runs if not run.finished)),
        "stochastic": _mean_return(found),
        "deterministic": _mean([float(each.policy["deterministic"].mean()) for each in found]),
        "score": mean_over_seeds(np.array(scores)) if scores else None,
        "gain": _gain(found, behaviour),
        "ess_fraction": _mean([run.ess_fraction for run in finished]),
        "kl": _mean([run.kl for run in finished]),
        "kept": {"trained": kept.count(TRAINED), "starting": len(kept) - kept.count(TRAINED)} if kept else None,
        "seconds": _mean([run.seconds for run in finished]),
        "updates_per_second": _mean([run.updates_per_second for run in finished]),
    }


def _mean_return(found: Sequence[Evaluation]) -> dict[str, Any] | None:
    """Over seeds; of a single one, the episodes' standard error says how well it was measured, and no more."""
    if not found:
        return None
    sampled = [each.policy["stochastic"] for each in found]
    if len(sampled) == 1:
        interval = {"mean": float(sampled[0].mean()), "lower": None, "upper": None}
        return {**interval, "standard_error": _standard_error(sampled[0]), "over": "episodes"}
    means = np.array([values.mean() for values in sampled])
    return {**mean_over_seeds(means), "standard_error": _standard_error(means), "over": "seeds"}


def _gain(found: Sequence[Evaluation], behaviour: Evaluation | None) -> dict[str, Any] | None:
    if not found or behaviour is None or behaviour.behaviour is None:
        return None
    reference = behaviour.behaviour["stochastic"]
    sampled = [each.policy["stochastic"] for each in found]
    if len(sampled) > 1:
        gain = gain_over_episodes(np.array([values.mean() for values in sampled]), reference)
        return {**gain, "standard_error": None, "over": "seeds"}
    gain = difference_of_means(sampled[0], reference)
    bounds = gain["lower"], gain["upper"]
    error = None if bounds[0] is None or bounds[1] is None else (bounds[1] - bounds[0]) / 2 / NORMAL_975
    return {**gain, "standard_error": error, "over": "episodes"}


def _standard_error(values: np.ndarray) -> float | None:
    return float(values.std(ddof=1) / len(values) ** 0.5) if len(values) > 1 else None


def _mean(values: Sequence[float | None]) -> float | None:
    """Of the seeds that know it; none where none does."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _aggregate(logs: Sequence[str], methods: Sequence[str], cells: Cells) -> dict[str, Any]:
    """Scores over the logs on which every method has some: over other logs, methods would sit different exams."""
    scores = {key: np.array([run.score for run in runs if run.score is not None]) for key, runs in cells.items()}
    scores = {key: values for key, values in scores.items() if values.size}
    used, left_out = [], {}
    for log in logs:
        missing = [method for method in methods if (log, method) not in scores]
        if not missing:
            used.append(log)
        elif not any(run.current for method in methods for run in cells.get((log, method), ())):
            left_out[log] = "no run on it has been evaluated"
        elif len(missing) == len(methods):
            left_out[log] = "D4RL has no score for its environment, and returns of different logs have no common scale"
        else:
            left_out[log] = f"it has no evaluated run of {', '.join(missing)}"
    rows = []
    for method in methods if used else ():
        mine = [scores[log, method] for log in used]
        row = {"runs": sum(map(len, mine)), "iqm": aggregates.interquartile_mean(mine), "mean": aggregates.mean(mine)}
        rows.append({"method": method, **row})
    return {"logs": used, "left_out": left_out, "methods": rows}


def _improvement(baseline: str, logs: Sequence[str], methods: Sequence[str], cells: Cells) -> dict[str, Any]:
    """By returns, log by log: what is only ever compared within a log needs no score."""
    means = {key: np.array([run.mean for run in runs if run.mean is not None]) for key, runs in cells.items()}
    means = {key: values for key, values in means.items() if values.size}
    rows = []
    for method in methods:
        shared = [log for log in logs if (log, method) in means and (log, baseline) in means]
        if method == baseline or not shared:
            continue
        first, second = ([means[log, name] for log in shared] for name in (method, baseline))
        found = aggregates.probability_of_improvement(first, second)
        rows.append({"method": method, "logs": len(shared), "probability": found})
    return {"baseline": baseline, "methods": rows}


def _repeated(log: str, method: str, runs: Runs) -> list[str]:
    """Seeds that a method has twice: refused where it is the same run twice, said where configurations differ."""
    finished = [run for run in runs if run.finished]
    twice = [seed for seed, count in Counter(run.seed for run in finished).items() if count > 1]
    for seed in twice:
        same = [run for run in finished if run.seed == seed]
        for i, run in enumerate(same):
            alike = [other for other in same[:i] if not differing([run.method, other.method])]
            if alike:
                raise SettingError(
                    f"{alike[0].path} and {run.path} are the same run twice: '{method}' on {log}, seed {seed}.",
                    "Leave one of them out; counted twice, a seed makes every interval too narrow.",
                )
    if not twice:
        return []
    apart = ", ".join(differing([run.method for run in finished]))
    return [f"'{method}' on {log} holds runs of one seed that differ in {apart}; each counts as a seed of its own."]


def _notes_on_logs(results: Runs, logs: Sequence[str]) -> list[str]:
    shown = dict(zip([run.log_key for run in results], logs, strict=True))
    first = {run.log_key: run.log for run in reversed(results)}
    several = [name for name, count in Counter(first.values()).items() if count > 1]
    notes = []
    for name in several:
        versions = [shown[key] for key in first if first[key] == name]
        notes.append(f"runs on different versions of {name}, which are different logs: {', '.join(sorted(versions))}.")
    return notes


def _notes_on_runs(results: Runs) -> list[str]:
    """What was left out of every figure, and the command that brings it in."""
    notes = []
    for run in results:
        if not run.finished:
            notes.append(f"{run.path} is {run.status}: left out. {_mend(run)}")
        elif run.evaluation is not None and run.current is None:
            notes.append(
                f"{run.path} was evaluated at step {run.evaluation.step}, its last checkpoint is step {run.step}: "
                f"left out. Evaluate that: gipo evaluate {run.path}"
            )
    if any(run.status == "diverged" for run in results):
        notes.append("what diverged is in no mean: the figures of its method are of the seeds that survived.")
    missing = [run for run in results if run.finished and run.evaluation is None]
    if missing:
        counted = f"{len(missing)} of {len(results)} runs are" if len(missing) > 1 else f"{missing[0].path} is"
        notes.append(f"{counted} not evaluated yet: gipo evaluate {missing[0].path}, or add --evaluate for all.")
    return notes


def _mend(run: RunResult) -> str:
    if run.status == "diverged":
        return "Train it anew with a smaller learning rate."
    return f"Continue it: gipo train --resume {run.path}"


def _notes_on_aggregate(aggregate: dict[str, Any], cells: Cells) -> list[str]:
    notes = [f"the figures over logs leave out {log}: {why}." for log, why in aggregate["left_out"].items()]
    counts = {key: sum(run.mean is not None for run in runs) for key, runs in cells.items()}
    few = {key: count for key, count in counts.items() if 0 < count < aggregates.FEWEST_SEEDS}
    if few:
        (log, method), count = next(iter(few.items()))
        others = f" and {len(few) - 1} more" if len(few) > 1 else ""
        notes.append(
            f"fewer than {aggregates.FEWEST_SEEDS} seeds ('{method}' on {log}: {count}{others}): no interval over logs "
            "where they take part, since one or two seeds do not show how far seeds differ."
        )
    elif any(0 < count < aggregates.ENOUGH_SEEDS for count in counts.values()):
        notes.append(
            f"fewer than {aggregates.ENOUGH_SEEDS} seeds: the intervals over logs are too narrow (with 3 seeds of one "
            "log they cover the truth in three cases of four, not in 95 %)."
        )
    sizes = {counts[log, row["method"]] for row in aggregate["methods"] for log in aggregate["logs"]}
    if len(sizes) > 1:
        notes.append("logs have different numbers of seeds: in the interquartile mean every run counts alike.")
    if len(aggregate["logs"]) == 1:
        runs = sorted({row["runs"] for row in aggregate["methods"]})
        span = f"{runs[0]}" if len(runs) == 1 else f"{runs[0]} to {runs[-1]}"
        notes.append(f"the scores over logs rest on {aggregate['logs'][0]} alone, with {span} runs a method.")
    return notes
