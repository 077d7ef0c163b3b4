"""Random SIGKILLs over a batch: what it comes to has to be what an undisturbed one comes to, byte for byte.

    python tests/batch/kills.py --jobs 20 --kills 200 LOG

Kills hit the batch's own process or that of a job, at random moments; the batch is started again where it was hit.
Prints how many kills met a process, and exits with 1 where the summary or a file of a run differs.
"""

import argparse
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gipo_cli.locking import holder

SETTINGS = "steps = {steps}\ncritic_steps = 30\nreport_every = 10\ncheckpoint_every = 20\n"


def job_file(place: Path, log: Path, jobs: int, steps: int) -> Path:
    """A batch of `jobs` seeds, every fourth of them behind a gate that does not hold."""
    path = place / "jobs.toml"
    strict = [seed for seed in range(jobs) if seed % 4 == 3]
    path.write_text(
        f'[defaults]\ndataset = "{log.resolve()}"\n{SETTINGS.format(steps=steps)}'
        + f"[matrix]\nseed = {[seed for seed in range(jobs) if seed not in strict]}\n"
        + "".join(f'[[job]]\nname = "strict-{seed}"\nseed = {seed}\nfail_if = "held_out.kl > 0"\n' for seed in strict)
    )
    return path


def start(file: Path, out: Path) -> "subprocess.Popen[bytes]":
    """The batch, two jobs at a time."""
    command = [
        sys.executable,
        "-m",
        "gipo_cli",
        "batch",
        file,
        "--out",
        out,
        "--jobs",
        "2",
        "--retries",
        "9",
        "--quiet",
    ]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"}, **quiet)


def result(out: Path) -> dict:
    """All that must not depend on kills: the summary without times and attempts, and every byte of every run."""
    said = subprocess.run(
        [sys.executable, "-m", "gipo_cli", "batch", "status", out, "--json"], capture_output=True, check=True
    )
    jobs = json.loads(said.stdout)["jobs"]
    for job in jobs:
        del job["attempts"], job["seconds"]
    names = ("metrics.jsonl", "log_ratios.npz", "latest", "config.toml", "checkpoints/step-*/*")
    files = {str(p.relative_to(out)): p.read_bytes() for name in names for p in sorted(out.glob(f"*/{name}"))}
    return {"summary": jobs, "files": files}


def victims(out: Path, batch: "subprocess.Popen[bytes]") -> list[int]:
    """The processes that may be hit: the batch's and those that hold the lock of a run."""
    holders = [holder(lock) or "" for lock in out.glob("*/run.lock")]
    return [batch.pid, *(int(found[1]) for who in holders if (found := re.match(r"process (\d+) on ", who)))]


def disturb(file: Path, out: Path, kills: int, seed: int) -> int:
    """Run the batch to its end under fire; how many kills met a process."""
    chance, met = random.Random(seed), 0
    batch = start(file, out)
    while True:
        if met < kills:
            time.sleep(chance.uniform(0.2, 3.0))
        else:
            batch.wait()
        if batch.poll() is not None:
            if batch.returncode == 4:  # every job has ended, and the gates of some do not hold, as they must
                return met
            batch = start(file, out)
            continue
        try:
            os.kill(chance.choice(victims(out, batch)), signal.SIGKILL)
            met += 1
        except ProcessLookupError:
            continue


def main() -> None:
    """Compare a batch under fire with one that is left alone."""
    parser = argparse.ArgumentParser()
    parser.add_argument("log", type=Path)
    parser.add_argument("--jobs", type=int, default=20)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        file = job_file(place, given.log, given.jobs, given.steps)
        start(file, place / "calm").wait()
        met = disturb(file, place / "fire", given.kills, given.seed)
        calm, fire = result(place / "calm"), result(place / "fire")
    same = calm == fire
    print(f"{met} kills met a process; {len(calm['summary'])} jobs, {len(calm['files'])} files: "
          f"{'all the same' if same else 'NOT THE SAME'}")  # fmt: skip
    for key in sorted(set(calm["files"]) | set(fire["files"])):
        if calm["files"].get(key) != fire["files"].get(key):
            print("differs:", key)
    sys.exit(0 if same and met >= given.kills else 1)


if __name__ == "__main__":
    main()
