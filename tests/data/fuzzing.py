"""Damage files of every format and open them: each must be read or refused in a sentence, and nothing else.

    python tests/data/fuzzing.py --files 100000 --seed 0 --jobs 2
    python tests/data/fuzzing.py --seed 0 --only 4711          # one file again, with its traceback

Batches are opened in processes of their own, so that a crash of a C library is one file's. What counts against us: an
exception that is no GipoError, a warning, a crash, more than LONGEST seconds, more than MOST_MEMORY bytes, a file
opened that is not the dataset's, anything run, anything unpickled. A file that does any of it is kept in --keep.
"""

import argparse
import ctypes
import faulthandler
import json
import os
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")

import numpy as np
from fuzzing_mutations import mutated
from fuzzing_seeds import SEEDS, Seed, build

BATCH = 400
LONGEST = 10.0  # seconds of a processor, for one file
HUNG = 60.0  # seconds after which a process that says nothing is ended
MOST_MEMORY = 512 * 2**20
ADDRESSES = 6 * 2**30  # beyond what the process has when it begins
LONGEST_MESSAGE = 4010
REPOSITORY = Path(__file__).resolve().parents[2]
OWN = tuple(os.path.realpath(place) for place in (sys.prefix, sys.base_prefix, REPOSITORY / "gipo_cli"))
HARMLESS = ("/dev/null", "/dev/urandom", "/proc/", "/sys/")
RUNS = ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn", "os.system", "os.fork", "os.forkpty",
        "pickle.find_class", "socket.connect", "socket.bind", "urllib.Request", "ctypes.dlopen",
        "shutil.rmtree", "os.remove", "os.rename")  # fmt: skip


WORDS = [sys.executable, "-P", "-m", "gipo_cli.data.hdf5_text"]  # the one process that opening a file may start


class Watch:
    """What a file makes this process do beyond reading it."""

    def __init__(self, sandbox: Path) -> None:
        self.inside, self.active, self.seen = os.path.realpath(sandbox), False, []
        self.outside = Path(self.inside) / "outside"  # where links lead that leave a dataset
        libc = ctypes.CDLL(None, use_errno=True)
        self.handle = libc.inotify_init1(os.O_NONBLOCK)
        libc.inotify_add_watch(self.handle, os.fsencode(self.outside), 0x20)  # IN_OPEN, by whatever library
        sys.addaudithook(self)

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.active:
            return
        if event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
            place = os.path.realpath(os.fsdecode(arguments[0]))
            if not place.startswith((*OWN, self.inside, *HARMLESS)) or place.startswith(str(self.outside)):
                self.seen.append(f"opened {place}")
        elif event in RUNS and not self._is_ours(event, arguments):
            self.seen.append(f"{event} {arguments!r:.200}")

    def _is_ours(self, event: str, arguments: tuple[Any, ...]) -> bool:
        if event in ("os.remove", "os.rename", "shutil.rmtree"):  # columns larger than memory live in the cache
            return all(str(place).startswith(f"{self.inside}/inside/cache/") for place in arguments[:1])
        return event == "subprocess.Popen" and list(arguments[1][:4]) == WORDS

    def end(self) -> list[str]:
        """What was seen since the file began."""
        self.active = False
        with suppress(BlockingIOError):
            events = os.read(self.handle, 65536)
            while events:
                _, mask, _, length = struct.unpack_from("iIII", events)
                if mask & 0x20 and not mask & 0x40000000:  # a directory may be looked into for names
                    self.seen.append("opened a file that a link leads to, outside of the dataset")
                events = events[16 + length :]
        seen, self.seen = self.seen, []
        return seen


def files_of(place: Path) -> list[Path]:
    """The files of a seed, in the same order everywhere."""
    return sorted(path for path in place.rglob("*") if path.is_file())


def prepare(number: int, seed: int, seeds: Path, sandbox: Path) -> tuple[str, Path]:
    """Write damaged file `number` into the sandbox; its seed's name, and its directory."""
    rng = np.random.default_rng([seed, number])
    name = list(SEEDS)[number % len(SEEDS)]
    place = sandbox / "inside" / name
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(seeds / name, place)
    files = files_of(place)
    for _ in range(1 if rng.random() < 0.9 else 2):
        file = files[int(rng.integers(len(files)))]
        if SEEDS[name].structure and rng.random() < 0.05:
            restructure(file, place, sandbox / "outside", rng)
        elif file.is_file() and not file.is_symlink():
            others = files_of(seeds / list(SEEDS)[int(rng.integers(len(SEEDS)))])
            other = others[int(rng.integers(len(others)))].read_bytes()
            file.write_bytes(mutated(file.read_bytes(), file.name, rng, other))
    return name, place


def restructure(file: Path, place: Path, outside: Path, rng: np.random.Generator) -> None:
    """Something else where a file was, or its directory, for which nobody looked."""
    kind = int(rng.integers(6))
    if not file.is_file() or file.is_symlink():
        return
    if kind == 0:
        file.unlink()
    elif kind == 1:
        shutil.move(file, outside / "file")
        file.symlink_to(outside / "file")
    elif kind == 2:
        file.unlink()
        file.mkdir()
    elif kind == 3:
        file.unlink()
        os.mkfifo(file)
    elif kind == 4:
        shutil.copy(file, file.with_name(f"x{file.name}"))
    elif file.parent not in (place, place / "log", place / "set"):
        shutil.rmtree(outside / "directory", ignore_errors=True)
        shutil.move(file.parent, outside / "directory")
        file.parent.symlink_to(outside / "directory")


def attempt(seed: Seed, place: Path) -> str:
    """Open a place as its seed asks; the kind of error it was refused with, or "opened"."""
    from gipo_cli.errors import GipoError
    from gipo_cli.logs import open_log
    from gipo_cli.policies.stable_baselines3 import load_zip
    from gipo_cli.policies.weights import load_policy

    options = seed.options
    named = {name: str(place / file) for name in ("mapping", "behaviour") if (file := getattr(options, name))}
    entry = place / seed.entry
    try:
        if seed.loader == "log":
            open_log(str(entry), replace(options, **named))
        else:
            {"policy": load_policy, "stable-baselines3": load_zip}[seed.loader](entry)
    except GipoError as error:
        if not error.message or len(error.message) + len(error.hint) > LONGEST_MESSAGE:
            raise AssertionError(f"an error of {len(error.message) + len(error.hint)} characters") from error
        return type(error).__name__
    return "opened"


def peak() -> int:
    """The most memory this process has had since `clear`."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


def one(number: int, seed: int, seeds: Path, sandbox: Path, watch: Watch) -> dict[str, Any]:
    """Make a file, open it, and say what happened."""
    shutil.rmtree(sandbox / "outside")
    (sandbox / "outside").mkdir()
    watch_outside(watch)
    name, place = prepare(number, seed, seeds, sandbox)
    watch.end()
    Path("/proc/self/clear_refs").write_text("5")
    before, began = peak(), time.process_time()
    found: dict[str, Any] = {"number": number, "format": SEEDS[name].format, "seed": name}
    try:
        watch.active = True
        found["outcome"] = attempt(SEEDS[name], place)
    except BaseException as error:
        watch.active = False
        frames = [f for f in traceback.extract_tb(error.__traceback__) if "gipo_cli" in f.filename]
        where = f"{frames[-1].filename.rpartition('gipo_cli/')[2]}:{frames[-1].lineno}" if frames else "?"
        found |= {"outcome": "exception", "what": f"{type(error).__name__} at {where}: {str(error)[:160]}"}
        found["traceback"] = traceback.format_exc()
    seen, used, took = watch.end(), peak() - before, time.process_time() - began
    if seen:
        found |= {"outcome": "reached out", "what": "; ".join(dict.fromkeys(seen))[:400]}
    elif used > MOST_MEMORY:
        found |= {"outcome": "memory", "what": f"{used >> 20} MiB"}
    elif took > LONGEST:
        found |= {"outcome": "slow", "what": f"{took:.0f} s"}
    return found | {"seconds": took, "bytes": used}


def watch_outside(watch: Watch) -> None:
    """Watch the directory that was made anew."""
    ctypes.CDLL(None).inotify_add_watch(watch.handle, os.fsencode(watch.outside), 0x20)


def work(numbers: list[int], seed: int, seeds: Path, sandbox: Path, pipe: int) -> None:
    """Open a batch in this process, and write a line before and after each file."""
    import resource

    os.environ.update(GIPO_CACHE=str(sandbox / "inside/cache"), TMPDIR=str(sandbox), MINARI_DATASETS_PATH=str(sandbox))
    (sandbox / "outside").mkdir(parents=True, exist_ok=True)
    (sandbox / "inside").mkdir(exist_ok=True)
    log = os.open(sandbox / "crash.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    faulthandler.enable(log)
    os.dup2(log, 2)  # what C libraries have to say before they abort
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + ADDRESSES, used + ADDRESSES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("error")
    watch = Watch(sandbox)
    for number in numbers:
        os.write(pipe, json.dumps({"begins": number}).encode() + b"\n")
        found = one(number, seed, seeds, sandbox, watch)
        os.write(pipe, json.dumps(found).encode() + b"\n")


def import_all() -> None:
    """Everything that opening a file imports, once, before processes are made."""
    import gipo_cli.logs
    import gipo_cli.policies.recompute
    import gipo_cli.policies.stable_baselines3
    import gipo_cli.training.estimation
    from gipo_cli.registry import READERS

    assert gipo_cli.logs
    for name in READERS.places:
        READERS.load(name)


class Job:
    """A process that opens files, replaced by another where a file ends it."""

    def __init__(self, numbers: list[int], arguments: argparse.Namespace, seeds: Path, sandbox: Path) -> None:
        self.numbers, self.arguments, self.seeds, self.sandbox = numbers, arguments, seeds, sandbox
        self.pid = 0

    def start(self) -> bool:
        """Start on the next batch; false where nothing is left."""
        if not self.numbers:
            return False
        self.read, write = os.pipe()
        self.batch, self.rest, self.begun, self.last = self.numbers[:BATCH], b"", None, time.monotonic()
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                os.close(self.read)
                work(self.batch, self.arguments.seed, self.seeds, self.sandbox, write)
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
        os.close(write)
        return True

    def take(self) -> list[dict[str, Any]]:
        """What the process has reported; a crash, or a hang, as the report of the file that it was at."""
        found: list[dict[str, Any]] = []
        chunk = os.read(self.read, 1 << 20)
        self.last = time.monotonic()
        *lines, self.rest = (self.rest + chunk).split(b"\n")
        for line in lines:
            report = json.loads(line)
            if "begins" in report:
                self.begun = report["begins"]
            else:
                self.begun = None
                found.append(report)
        done = {report["number"] for report in found}
        self.numbers = [number for number in self.numbers if number not in done]
        if not chunk:
            found += self.ended()
        return found

    def ended(self, why: str = "") -> list[dict[str, Any]]:
        """The process is over: attribute its end, if it was not a good one."""
        os.close(self.read)
        _, status = os.waitpid(self.pid, 0)
        self.pid = 0
        if status == 0:
            return []
        if self.begun is None:
            raise RuntimeError(f"a process ended between files:\n{(self.sandbox / 'crash.txt').read_text()}")
        number, name = self.begun, list(SEEDS)[self.begun % len(SEEDS)]
        self.numbers.remove(number)
        said = (self.sandbox / "crash.txt").read_text()
        ours = next((line.strip() for line in said.splitlines() if "gipo_cli" in line), "?")
        code = os.waitstatus_to_exitcode(status)
        died = f"{signal.Signals(-code).name if code < 0 else f'exit {code}'} at {ours.rpartition('gipo_cli/')[2]}"
        return [{"number": number, "format": SEEDS[name].format, "seed": name, "outcome": "hang" if why else "crash",
                 "what": why or died, "traceback": said, "seconds": 0.0, "bytes": 0}]  # fmt: skip

    def overdue(self) -> list[dict[str, Any]]:
        """End a process that hangs."""
        if time.monotonic() - self.last < HUNG:
            return []
        os.kill(self.pid, signal.SIGABRT)  # faulthandler says where it was
        return self.ended(f"nothing for {HUNG:.0f} s")


def keep(report: dict[str, Any], arguments: argparse.Namespace, seeds: Path) -> None:
    """Put a file that was found beside its report."""
    place = arguments.keep / f"{arguments.seed}-{report['number']}"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    (place / "outside").mkdir()
    _, made = prepare(report["number"], arguments.seed, seeds, place)
    again = f"python tests/data/fuzzing.py --seed {arguments.seed} --only {report['number']}"
    (place / "report.txt").write_text(f"{again}\n{made}\n{report['what']}\n{report.get('traceback', '')}\n")


def fuzz(arguments: argparse.Namespace, seeds: Path, scratch: Path) -> list[dict[str, Any]]:
    """Open all files; their reports."""
    import_all()
    first, count = (arguments.first, arguments.files) if arguments.only is None else (arguments.only, 1)
    numbers = range(first, first + count)
    jobs = [Job(list(numbers[k :: arguments.jobs]), arguments, seeds, scratch / str(k)) for k in range(arguments.jobs)]
    for job in jobs:
        job.sandbox.mkdir()
    reports: list[dict[str, Any]] = []
    kinds: Counter[str] = Counter()
    began = time.monotonic()
    while running := [job for job in jobs if job.pid or job.start()]:
        if arguments.seconds and time.monotonic() - began > arguments.seconds:
            for job in running:
                os.kill(job.pid, signal.SIGKILL)
                os.waitpid(job.pid, 0)
            break
        ready, _, _ = select.select([job.read for job in running], [], [], 1.0)
        for job in running:
            for report in job.take() if job.read in ready else job.overdue():
                reports.append(report)
                if len(reports) % 10_000 == 0:
                    print(f"{len(reports):,} files after {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
                if "what" in report:
                    key = report["outcome"] + report["what"].split(":")[0]
                    kinds[key] += 1
                    if kinds[key] <= 3:
                        keep(report, arguments, seeds)
                        print(f"{report['number']} {report['seed']}: {report['outcome']}: {report['what']}", flush=True)
    return reports


def main() -> int:
    """Print what happened to how many files of each format; 1 where anything counts against us."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--first", type=int, default=0, help="number of the first file")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="open one file, by its number")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=0, help="stop after as many seconds")
    parser.add_argument("--keep", type=Path, default=Path(tempfile.gettempdir()) / "gipo-fuzzing")
    parser.add_argument("--build", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.build:
        build(arguments.build)
        return 0
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        seeds = Path(scratch).resolve() / "seeds"
        # In a process of its own: it starts threads, which do not survive a fork.
        subprocess.run([sys.executable, __file__, "--build", str(seeds)], check=True)
        reports = fuzz(arguments, seeds, Path(scratch).resolve())
    for format_name in sorted({report["format"] for report in reports}):
        outcomes = Counter(report["outcome"] for report in reports if report["format"] == format_name)
        counts = ", ".join(f"{count:,} {outcome}" for outcome, count in outcomes.most_common())
        print(f"{format_name:18} {sum(outcomes.values()):7,}  {counts}")
    found = Counter(f"{r['outcome']}: {r['what']}" for r in reports if "what" in r)
    for what, count in found.most_common(40):
        print(f"{count:6,} x {what}")
    slowest, largest = max(reports, key=lambda r: r["seconds"]), max(reports, key=lambda r: r["bytes"])
    print(f"slowest {slowest['number']}, {slowest['seed']}: {slowest['seconds']:.2f} s; "
          f"largest {largest['number']}, {largest['seed']}: {largest['bytes'] >> 20} MiB")  # fmt: skip
    print(
        f"{len(reports):,} files in {time.monotonic() - began:.0f} s; {sum(found.values()):,} count against us",
        flush=True,
    )
    if arguments.only is not None:
        print(reports[0].get("traceback", ""))
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
