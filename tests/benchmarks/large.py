"""Logs of many rows: memory, time per update, and whether mapped columns give what columns in memory give.

    python -m tests.benchmarks.large --rows 1000000 10000000 --out large.json
    python -m tests.benchmarks.large --rows 100000000 --only mapped

Each log is made row by row the same, by a policy that it carries (--cloned: that it does not); each training runs in a
process of its own, whose peak of resident memory (VmHWM, mapped files included) and CPU time are read from Linux's
/proc. Of the updates the time is the median of the thread's CPU time, so that other work on the machine is hardly in
it. Needs about 90 bytes of --place for each observation of 11 numbers, and as many of the cache.
"""

import argparse
import hashlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np

OBSERVATION, ACTION, WIDTH = 11, 3, 64  # of Hopper, and of its policy
EPISODE = 1000  # steps; every second one is cut
AT_ONCE = 2**18  # rows
WHERE = {"in memory": str(2**50), "mapped": str(2**20)}  # $GIPO_COLUMN_MEMORY


def main() -> None:
    """Make the logs, train on each as asked, print a table."""
    given = _parser().parse_args()
    results = []
    for rows in given.rows:
        with tempfile.TemporaryDirectory(dir=given.place) as place:
            log = Path(place) / "log.hdf5"
            write(log, rows, carried=not given.cloned, episode=given.episode)
            for where in given.only or WHERE:
                results.append({"rows": rows, "columns": where, **trained(log, Path(place), where, given)})
                print(line(results[-1]), flush=True)
    for first, second in itertools.pairwise(results):
        if first["rows"] == second["rows"]:
            same = first["sha256"] == second["sha256"]
            print(f"{first['rows']:,} rows: the two runs are {'equal' if same else 'NOT equal'} to the last bit")
    if given.out:
        given.out.write_text(json.dumps(results, indent=1) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000])
    parser.add_argument("--only", choices=WHERE, action="append", help="where columns are (default: both in turn)")
    parser.add_argument("--column-memory", help="bytes of the largest column in memory, where columns are mapped")
    parser.add_argument("--cloned", action="store_true", help="leave the policy out of the log")
    parser.add_argument("--episode", type=int, default=EPISODE, help="steps of an episode")
    parser.add_argument("--advantage", default="path-consistency")
    parser.add_argument("--steps", type=int, default=2000, help="updates of the policy, and of the advantages")
    parser.add_argument("--place", type=Path, help="directory for log, cache and run (default: the system's)")
    parser.add_argument("--out", type=Path, help="also write JSON here")
    return parser


def write(path: Path, rows: int, carried: bool = True, episode: int = EPISODE) -> None:
    """A log of a random policy in D4RL's layout, a piece at a time; the reward is an action along a state."""
    rng = np.random.default_rng(0)
    policy = _policy(rng)
    with h5py.File(path, "w") as file:
        columns = {
            "observations": (OBSERVATION,), "actions": (ACTION,), "rewards": (), "infos/action_log_probs": (),
        }  # fmt: skip
        sets = {name: file.create_dataset(name, (rows, *shape), "f4") for name, shape in columns.items()}
        for start in range(0, rows, AT_ONCE):
            for name, block in _block(rng, policy, min(AT_ONCE, rows - start)).items():
                sets[name][start : start + len(block)] = block
        last = np.append(np.arange(episode - 1, rows - 1, episode), rows - 1)
        for name, ends in (("terminals", last[::2]), ("timeouts", last[1::2])):
            flags = np.zeros(rows, bool)
            flags[ends] = True
            file[name] = flags
        file["metadata/final_observations"] = rng.standard_normal((len(last), OBSERVATION), np.float32)
        if carried:
            for name, array in policy.items():
                file[f"metadata/policy/{name}"] = array
            file["metadata/policy/nonlinearity"] = np.bytes_("relu")
            file["metadata/policy/output_distribution"] = np.bytes_("gaussian")
        else:
            file.attrs["output_distribution"] = "gaussian"


def _policy(rng: np.random.Generator) -> dict[str, np.ndarray]:
    shapes = {"fc0": (WIDTH, OBSERVATION), "fc1": (WIDTH, WIDTH), "last_fc": (ACTION, WIDTH)}
    weights = {f"{name}/weight": rng.standard_normal(shape) / shape[1] ** 0.5 for name, shape in shapes.items()}
    biases = {f"{name}/bias": np.zeros(shape[0]) for name, shape in shapes.items()}
    spread = {"last_fc_log_std/weight": np.zeros((ACTION, WIDTH)), "last_fc_log_std/bias": np.full(ACTION, -0.5)}
    return {name: array.astype(np.float32) for name, array in {**weights, **biases, **spread}.items()}


def _block(rng: np.random.Generator, policy: dict[str, np.ndarray], rows: int) -> dict[str, np.ndarray]:
    observation = rng.standard_normal((rows, OBSERVATION), np.float32)
    hidden = observation
    for layer in ("fc0", "fc1"):
        hidden = np.maximum(hidden @ policy[f"{layer}/weight"].T, 0)
    noise = rng.standard_normal((rows, ACTION), np.float32)
    log_std = policy["last_fc_log_std/bias"]
    return {
        "observations": observation,
        "actions": hidden @ policy["last_fc/weight"].T + np.exp(log_std) * noise,
        "rewards": (noise * observation[:, :ACTION]).sum(1) + observation[:, -1],
        "infos/action_log_probs": -(noise**2 / 2 + log_std + np.log(2 * np.pi) / 2).sum(1),
    }


CHILD = """
import sys, time
from contextlib import contextmanager, suppress
from pathlib import Path
from gipo_cli.config import TrainConfig
from gipo_cli.logs import open_log
from gipo_cli.registry import ADVANTAGES, OBJECTIVES
from gipo_cli.runs import RunDirectory
from gipo_cli.training.loop import fit
import json, torch

log, out, advantage, steps = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
updates, cpu, peaks, began = {}, {}, {}, time.process_time()

def lap(name):
    global began
    now = time.process_time()
    cpu[name], began = round(now - began, 1), now
    peaks[name] = round(resident(), 2)
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the next phase has a peak of its own

@contextmanager
def phase(name, total):
    times = []
    def advance(n=1, **figures):
        if n == 1:
            times.append(time.thread_time())
    lap(f"before {name}")
    yield advance
    lap(name)
    gaps = sorted(after - before for before, after in zip(times, times[1:]))
    updates[name] = 1000 * gaps[len(gaps) // 2]

def resident():
    return next(int(line.split()[1]) / 2**20 for line in open("/proc/self/status") if line.startswith("VmHWM"))

torch.set_num_threads(1)
config = TrainConfig(
    log, advantage=advantage, steps=steps, critic_steps=steps, clone_steps=steps, report_every=steps,
    checkpoint_every=steps, certify=False,
)
opened = open_log(log)
opened.log.fingerprint
lap("reading, checks, fingerprint")
with RunDirectory.create(out) as run:
    fit(config, OBJECTIVES.load("gipo"), ADVANTAGES.load(advantage), opened.log, run, torch.device("cpu"), phase)
lap("judgement, checkpoint, log ratios")
found = {"peak_gib": max(peaks.values()), "peak_gib_by_phase": peaks, "ms_an_update": updates, "cpu_s": cpu}
print(json.dumps(found))
"""


def trained(log: Path, place: Path, where: str, given: argparse.Namespace) -> dict[str, object]:
    """Figures of one training, with the hash of all that it wrote."""
    out = place / f"run {where}"
    limit = given.column_memory if given.column_memory and where == "mapped" else WHERE[where]
    env = {**os.environ, "GIPO_CACHE": str(place / "cache"), "GIPO_COLUMN_MEMORY": limit, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", CHILD, log, out, given.advantage, str(given.steps)]
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, check=True)
    return {**json.loads(done.stdout), "sha256": _digest(out)}


def _digest(run: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(path for path in run.rglob("*") if path.is_file() and path.name != "run.lock"):
        digest.update(str(file.relative_to(run)).encode())
        with file.open("rb") as opened:
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()


def line(found: dict) -> str:
    """One row of the table."""
    updates = ", ".join(f"{name} {ms:.2f} ms" for name, ms in found["ms_an_update"].items())
    cpu = ", ".join(f"{name} {seconds} s" for name, seconds in found["cpu_s"].items())
    peaks = ", ".join(f"{name} {gib}" for name, gib in found["peak_gib_by_phase"].items())
    head = f"{found['rows']:,} rows {found['columns']}: peak {found['peak_gib']:.2f} GiB"
    return f"{head}; {updates}; CPU: {cpu}; GiB: {peaks}"


if __name__ == "__main__":
    main()
