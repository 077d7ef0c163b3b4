"""`gipo evaluate RUN --offline` by logs of many rows: memory, CPU time, and whether mapped columns change the document.

    python -m tests.benchmarks.large_offline --rows 1000000 10000000
    python -m tests.benchmarks.large_offline --rows 10000000 --own

Logs are those of `tests.benchmarks.large`. The run is trained with a few updates: on a log of TRAINED rows, and the
large one is then another log, all of whose episodes answer; with --own on the large one, whose held-out tenth answers.
Each evaluation runs in a process of its own, whose peak of resident memory (VmHWM, mapped files included) and CPU time
are read. Needs about 350 bytes of --place a row.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.benchmarks import large

TRAINED = 20_000  # rows
STEPS = 50  # updates of the training: what is measured is its evaluation

CHILD = """
import hashlib, json, sys, time
from pathlib import Path
from gipo_cli.advantages import networks
from gipo_cli.evaluation import offline_run
from gipo_cli.runs import RunDirectory

run, dataset = Path(sys.argv[1]), sys.argv[2] or None
offline_run.UPDATES, networks.WIDTH = int(sys.argv[3]), int(sys.argv[5]) or networks.WIDTH
with RunDirectory(run) as opened:
    asked = offline_run.Asked(dataset, step=int(sys.argv[4]))
    found = offline_run.evaluate_offline(opened, asked, None, lambda said: None)
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps({
    "peak_gib": int(status["VmHWM"].split()[0]) / 2**20,
    "cpu_s": time.process_time(),
    "sha256": hashlib.sha256(json.dumps(found["offline"]).encode()).hexdigest(),
    "episodes": found["offline"]["episodes"],
    "verdict": found["offline"]["verdict"],
}))
"""


def main() -> None:
    """Make the logs, train a little, evaluate as asked, print a line for each."""
    given = _parser().parse_args()
    for rows in given.rows:
        with tempfile.TemporaryDirectory(dir=given.place) as place:
            log, small = Path(place) / "log.hdf5", Path(place) / "small.hdf5"
            large.write(log, rows)
            large.write(small, TRAINED)
            run = trained(log if given.own else small, Path(place))
            for where in given.only or large.WHERE:
                limit = given.column_memory if given.column_memory and where == "mapped" else large.WHERE[where]
                sizes = (given.updates, STEPS, given.width)
                found = evaluated(run, "" if given.own else str(log), Path(place), limit, sizes)
                print(json.dumps({"rows": rows, "columns": where, **found}), flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--own", action="store_true", help="evaluate by the log that the run was trained on")
    parser.add_argument("--only", choices=large.WHERE, action="append", help="where columns are (default: both)")
    parser.add_argument("--column-memory", help="bytes of the largest column in memory, where columns are mapped")
    parser.add_argument("--updates", type=int, default=100, help="of each kind of network")
    parser.add_argument("--width", type=int, default=0, help="of the networks (default: theirs)")
    parser.add_argument("--place", type=Path, help="directory for logs, cache and run (default: the system's)")
    return parser


def trained(log: Path, place: Path) -> Path:
    """A run of a few updates."""
    run = place / "run"
    command = [sys.executable, "-m", "gipo_cli", "train", "--dataset", log, "--out", run, "--steps", str(STEPS)]
    few = ["--set", f"critic_steps={STEPS}", "--set", "threads=1", "--quiet"]
    subprocess.run([*command, *few], env=_environment(place, large.WHERE["mapped"]), check=True)
    return run


def evaluated(run: Path, dataset: str, place: Path, limit: str, sizes: tuple[int, ...]) -> dict[str, object]:
    """Figures of one evaluation, with the hash of its document; the run's own log where no data set is named."""
    command = [sys.executable, "-c", CHILD, run, dataset, *map(str, sizes)]
    done = subprocess.run(command, env=_environment(place, limit), stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def _environment(place: Path, limit: str) -> dict[str, str]:
    return {**os.environ, "GIPO_CACHE": str(place / "cache"), "GIPO_COLUMN_MEMORY": limit, "OMP_NUM_THREADS": "1"}


if __name__ == "__main__":
    main()
