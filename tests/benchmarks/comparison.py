"""Side by side in one process: every subject in turn, round after round, so what else runs slows them alike.

A rate by itself says little about a machine that others use, too. The ratio of two rates of one round says more: both
were measured within the same second or two. So each subject has its ratio to the first of its comparison, by rounds.
Beside the rate by seconds of the clock stands that by seconds of CPU, in which no waiting for a processor is.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
from statistics import quantiles
from typing import Any


@dataclass(frozen=True)
class Timed:
    """What one call came to, where a clock around it would count more than is asked for."""

    units: float
    seconds: float


@dataclass(frozen=True)
class Subject:
    """What is measured: `work(n)` does n units, of which n is a multiple of `chunk`."""

    work: Callable[[int], Timed | None]
    chunk: int = 1


@dataclass(frozen=True)
class Comparison:
    """Subjects that do the same thing, or as nearly the same as they can; the first is what others are held against.

    A subject is made when its turn comes to warm up: what it needs may not be installed (ImportError).
    """

    name: str
    unit: str  # of what is done, in the plural
    subjects: dict[str, Callable[[], Subject]]
    as_seconds: bool = False  # a unit takes long: seconds each, in place of units a second
    samples: int | None = None  # in each unit, where samples a second are worth telling
    alone: bool = False  # the peak memory of each subject is measured, in a process of its own
    once: bool = False  # takes minutes: no warm-up and no repeats


@dataclass
class Result:
    """One subject's line: quartiles over the rounds, of its rate (or seconds) and of its ratio to the first."""

    comparison: str
    subject: str
    unit: str
    threads: int
    quartiles: tuple[float, float, float] | None = None
    to_first: tuple[float, float, float] | None = None  # how much faster than the first, within a round
    samples_per_second: float | None = None
    cpu: float | None = None  # seconds of CPU a second of the clock; below the threads at work, others had the rest
    by_cpu: float | None = None  # median, in place of that by the clock
    rounds: int = 0
    absent: str | None = None  # why it could not be measured
    peak_mebibytes: float | None = None  # of a process that did this and nothing else, from a warm Python on
    wants_memory: bool = field(default=False, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def measure(
    comparison: Comparison, *, threads: int, repeats: int, seconds: float, only: str | None = None
) -> list[Result]:
    """Warm every subject up, then time them in turn, `repeats` times, each for about `seconds`.

    Args:
        comparison: what is measured.
        threads: that the process was given.
        repeats: rounds; with none subjects are warmed up and no more.
        seconds: of each subject in each round.
        only: the one subject to measure, whose peak memory is then that of the process.
    """
    unit = f"s/{comparison.unit.removesuffix('s')}" if comparison.as_seconds else f"{comparison.unit}/s"
    results, ready = [], {}
    for name, make in comparison.subjects.items():
        if only not in (None, name):
            continue
        result = Result(comparison.name, name, unit, threads, wants_memory=comparison.alone)
        results.append(result)
        forget_peak()
        try:
            subject = make()
            ready[name] = (subject, subject.chunk if comparison.once else _warm(subject, seconds))
        except ImportError as error:
            result.absent = str(error).partition("\n")[0]
    rounds = [
        {name: _timed(subject, amount) for name, (subject, amount) in ready.items()}
        for _ in range(1 if comparison.once else repeats)
    ]
    if only is not None:
        results[0].peak_mebibytes = getrusage(RUSAGE_SELF).ru_maxrss / 1024
    if rounds:
        for result in results:
            if result.absent is None:
                _fill(result, rounds, comparison)
    return results


def _warm(subject: Subject, seconds: float) -> int:
    """Call it until it is warm; how many units then take about `seconds`, or one chunk where that takes longer."""
    first, _ = _timed(subject, subject.chunk)
    if first.seconds > seconds:
        return subject.chunk
    second, _ = _timed(subject, subject.chunk)
    return subject.chunk * max(1, round(seconds / max(second.seconds, 1e-6)))


def _timed(subject: Subject, amount: int) -> tuple[Timed, float]:
    """One call, and the CPU seconds a second that it had, those of processes it waited for included."""
    cpu, began = _cpu_seconds(), time.perf_counter()
    found = subject.work(amount)
    elapsed = time.perf_counter() - began
    return found or Timed(amount, elapsed), (_cpu_seconds() - cpu) / max(elapsed, 1e-9)


def _cpu_seconds() -> float:
    children = getrusage(RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def forget_peak() -> None:
    """Let peak memory begin at what is held now, where the system can: what prepared a subject is none of its own."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _fill(result: Result, rounds: list[dict[str, tuple[Timed, float]]], comparison: Comparison) -> None:
    first = next(iter(rounds[0]))
    rates = [_rate(timings[result.subject][0]) for timings in rounds]
    ratios = [rate / _rate(timings[first][0]) for rate, timings in zip(rates, rounds, strict=True)]
    result.rounds = len(rounds)
    result.quartiles = _quartiles([1 / rate for rate in rates] if comparison.as_seconds else rates)
    result.to_first = _quartiles(ratios)
    shares = [timings[result.subject][1] for timings in rounds]
    by_cpu = [rate / max(share, 1e-9) for rate, share in zip(rates, shares, strict=True)]
    result.cpu = _quartiles(shares)[1]
    result.by_cpu = _quartiles([1 / rate for rate in by_cpu] if comparison.as_seconds else by_cpu)[1]
    if comparison.samples is not None:
        result.samples_per_second = comparison.samples * _quartiles(rates)[1]


def _rate(timed: Timed) -> float:
    return timed.units / max(timed.seconds, 1e-9)


def _quartiles(values: list[float]) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile."""
    if len(values) == 1:
        return values[0], values[0], values[0]
    lower, median, upper = quantiles(values, method="inclusive")
    return lower, median, upper
