"""How well updates fill a GPU: the share of the time in which a kernel runs, and the gaps between kernels.

`python -m tests.benchmarks.gpu_profile --batch 1024 --out profile.json` profiles recorded updates and, beside them, the
same ones launched kernel by kernel.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from tests.benchmarks import updates
from tests.benchmarks.scale import Scale

UPDATES = 200
LONG = 2.0  # microseconds; a gap of less is what the hardware takes from one kernel to the next


@dataclass(frozen=True)
class Filled:
    """What kernels made of a stretch of time, in microseconds."""

    kernels: int
    total: float  # from the first one's start to the last one's end
    busy: float  # share of it in which one ran
    long_gaps: int  # of more than LONG
    longest_gap: float


def filled(spans: Sequence[tuple[float, float]]) -> Filled:
    """Of kernels that began and ended so, in microseconds; they may overlap."""
    ordered = sorted(spans)
    begin, end, running = ordered[0][0], ordered[0][0], 0.0
    gaps = []
    for start, stop in ordered:
        gaps.append(max(0.0, start - end))
        running += max(0.0, stop - max(start, end))
        end = max(end, stop)
    total = end - begin
    return Filled(len(ordered), total, running / total, sum(gap > LONG for gap in gaps), max(gaps))


def profiled(batch: int, *, recorded: bool) -> dict[str, float]:
    """UPDATES of them, after as many unseen ones."""
    subject = updates.gipo(Scale.rows, batch, "cuda", recorded=recorded)
    subject.work(UPDATES)
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        subject.work(UPDATES)
    kernels = [event for event in seen.events() or () if event.device_type == DeviceType.CUDA]
    found = filled([(kernel.time_range.start, kernel.time_range.end) for kernel in kernels])
    return {"updates": UPDATES, "updates_per_second": UPDATES / (found.total * 1e-6), **asdict(found)}


def main() -> None:
    """Print a JSON document, or write it."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.gpu_profile", description=__doc__)
    parser.add_argument("--batch", type=int, default=1024)
    parser.add_argument("--out", type=Path, metavar="FILE")
    given = parser.parse_args()
    if not torch.cuda.is_available():
        parser.error("torch finds no CUDA device on this machine")
    found = {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "batch": given.batch,
        "recorded": profiled(given.batch, recorded=True),
        "kernel by kernel": profiled(given.batch, recorded=False),
    }
    text = json.dumps(found, indent=2)
    if given.out is None:
        print(text)
    else:
        given.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
