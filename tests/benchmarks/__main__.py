"""How fast gipo is, beside others and beside what the machine can do: one run, one table, one JSON document.

    python -m tests.benchmarks --out speed.json
    python -m tests.benchmarks --only updates --quick

In a checkout, with `pip install -e ".[bench]"`; what else is needed for a peer is said where it is absent. Subjects of
one comparison take turns in one process, so ratios within a comparison stand though the machine is shared; rates of
two runs do not compare unless it was idle in both. CPU s/s says how much of the processors a subject had: on one
thread below 1 it was kept waiting, and the median by CPU is what it would have come to without that, or nearly.
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tests.benchmarks.comparison import Result, measure
from tests.benchmarks.processes import measured, peak_alone
from tests.benchmarks.scale import QUICK, Scale
from tests.benchmarks.table import tables

BENCHMARKS = ("machine", "updates", "ensembles", "values", "advantages", "loading", "weights", "rollouts", "starting")
WHOLE = "whole"  # takes minutes, and only where it is asked for
THREADED = ("machine", "updates", "values")  # measured with all processors, too
PACKAGES = ("torch", "numpy", "h5py", "jax", "optax", "torchrl", "tensordict", "stable-baselines3", "d3rlpy", "mujoco")


def main() -> None:
    """Measure what the command line names, print it, and write it where --out says."""
    given = _parser().parse_args()
    scale = QUICK if given.quick else Scale()
    scale = replace(
        scale,
        repeats=scale.repeats if given.repeats is None else given.repeats,
        peers=not given.own,
        device=given.device,
    )
    names = given.only or [*BENCHMARKS, *([WHOLE] if given.whole else [])]
    before = os.getloadavg()
    if given.here:
        results = [result.to_dict() for name in names for result in here(name, scale, given)]
    else:
        results = list(side_by_side(names, given))
    document = {"machine": _machine(before), "scale": vars(scale), "results": results}
    if given.out:
        given.out.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")
    if not given.here:
        print(_about(document["machine"]), tables(results), sep="\n\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", choices=[*BENCHMARKS, WHOLE], help="this one; may be repeated")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that it runs, measures nothing")
    parser.add_argument("--own", action="store_true", help="leave the peers out")
    parser.add_argument("--whole", action="store_true", help="the whole default run, too; minutes")
    parser.add_argument("--repeats", type=int, help="rounds of each comparison")
    parser.add_argument("--device", default="cpu", help="of updates and ensembles: cpu, cuda or cuda:N")
    parser.add_argument("--threads", type=int, help="this many alone, in place of one and of all processors")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write a JSON document")
    # What the processes that it starts are told.
    for name in ("--comparison", "--subject"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    return parser


def here(name: str, scale: Scale, given: argparse.Namespace) -> Iterator[Result]:
    """Measure one benchmark in this process."""
    for comparison in import_module(f"tests.benchmarks.{name}").comparisons(scale):
        if given.comparison not in (None, comparison.name):
            continue
        yield from measure(
            comparison, threads=given.threads or 1, repeats=scale.repeats, seconds=scale.seconds, only=given.subject
        )
        if given.comparison:
            return  # making the next one would take time and memory


def side_by_side(names: list[str], given: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Each benchmark in processes of its own; then, for peak memory, each subject of those that want it."""
    flags = ("--device", given.device, *(("--quick",) if given.quick else ()), *(("--own",) if given.own else ()))
    repeats = () if given.repeats is None else ("--repeats", str(given.repeats))
    for name in names:
        counts = sorted({1, len(os.sched_getaffinity(0))}) if name in THREADED and not given.quick else [1]
        for threads in [given.threads] if given.threads else counts:
            _say(f"{name}, {threads} threads")
            for result in measured(name, threads, (*flags, *repeats)):
                if result["wants_memory"] and result["absent"] is None and threads == counts[0] and not given.quick:
                    result["peak_mebibytes"] = peak_alone(name, result["subject"], result["comparison"], flags)
                yield result


def _machine(before: tuple[float, float, float]) -> dict[str, Any]:
    """Where this was measured, and how busy it was with other things as well."""
    return {
        "processor": _processor(),
        "processors": len(os.sched_getaffinity(0)),
        "load": {"before": before, "after": os.getloadavg()},
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
    }


def _about(machine: dict[str, Any]) -> str:
    before, after = (machine["load"][when][0] for when in ("before", "after"))
    versions = ", ".join(f"{name} {found}" for name, found in machine["versions"].items() if found)
    return (
        f"{machine['processor']}, {machine['processors']} processors; load {before:.1f} before, {after:.1f} after\n"
        f"{versions}"
    )


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(": ")[2] for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
