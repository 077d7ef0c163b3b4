"""Faults at every point where `gipo train` touches its run directory, and whether resuming mends them to the byte.

    python tests/faults.py --log LOG.hdf5 --all          every fault at every point, and every power cut
    python tests/faults.py --log LOG.hdf5 --sample 40    so many of them, drawn at random
    python tests/faults.py --log LOG.hdf5 --broken       that each guarantee is missed where it is taken away
    python tests/faults.py --log LOG.hdf5 --count RUN    the calls of one undisturbed training, by name

A point is a call of the operating system on the run directory. Training runs in a child that is forked after torch was
imported, so that hundreds of trainings take minutes. The parent never runs an operation of torch.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

import argparse
import ast
import importlib
import json
import random
import shutil
import signal
import sys
import tempfile
import warnings
from collections import Counter
from contextlib import suppress
from pathlib import Path

from faulty_calls import ERRORS, KILLS, KINDS, MINE, OF_WRITES, Fault, Shim
from power_cuts import CUTS, power_cuts

SETTINGS = (
    "--device", "cpu", "--steps", "6", "--set", "critic_steps=2", "--set", "report_every=1", "--set",
    "checkpoint_every=2", "--advantage", "gae", "--set", "batch_size=64", "--keep", "2", "--quiet", "--json",
)  # fmt: skip
MISSED_BY = {"short": "short write", "sync": CUTS[1], "aside": "kill after", "leftovers": "kill after"}


def resident():
    """Import all that training needs, once for every child."""
    from gipo_cli.registry import ADVANTAGES, COMMANDS, OBJECTIVES

    for registry, name in ((COMMANDS, "train"), (OBJECTIVES, "gipo"), (ADVANTAGES, "gae")):
        registry.load(name)
    for module in ("cli", "logs", "rendering.summary", "training.loop", "training.reuse"):
        importlib.import_module(f"gipo_cli.{module}")


def break_durable(what):
    """Take one of the guarantees away, to see that the sweep notices."""
    from gipo_cli import durable

    if what == "short":
        durable.write_all = os.write
    elif what == "sync":
        durable._write = lambda path, content, how: _unsynced(durable, path, content, how)
    elif what == "aside":

        def at_once(path, files, aside):
            durable.make_directory(path)
            for name, content in files.items():
                durable._write(path / name, content, 0)

        durable.write_directory = at_once
    elif what == "leftovers":
        durable.remove_leftovers = lambda directory, names: [path.unlink() for path in directory.glob("*mine*")]
    elif what:
        raise ValueError(what)


def _unsynced(durable, path, content, how):
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | how, 0o666)
    for piece in durable.pieces(content):
        durable.write_all(handle, piece)
    os.close(handle)


def train(run, log, fault=None, broken="", keep_points=None):
    """One training in a child, or the rest of one: `--resume` where there is a run, else the first command again.

    Returns:
        The exit code, negative for a signal, and what it said.
    """
    arguments = ["train", "--resume", str(run)] if (run / "run.json").exists() else [
        "train", "--dataset", str(log), "--out", str(run), *SETTINGS]  # fmt: skip
    if "--resume" in arguments:
        arguments += ["--quiet", "--json"]
    said = run.parent / "said"
    child = os.fork()
    if child == 0:
        code = 70
        try:
            out = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(out, 1)
            os.dup2(out, 2)
            shim = Shim(run, fault or Fault())
            shim.install()
            break_durable(broken)
            from gipo_cli.cli import main

            try:
                main(arguments)
                code = 0
            except SystemExit as left:
                code = int(left.code or 0)
            if keep_points is not None:
                keep_points.write_text(repr((shim.points, sorted(sys.modules))))
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status, said.read_text()


def points_of(place, log, broken=""):
    """The points of an undisturbed training, which is left at place/run; what it imported is there for all others."""
    code, said = train(place / "run", log, broken=broken, keep_points=place / "points")
    assert code == 0, said
    points, modules = ast.literal_eval((place / "points").read_text())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for module in modules:
            with suppress(Exception):  # some are no modules that can be imported by their name
                importlib.import_module(module)
    return points


def content(run):
    """Every byte that a run ends with; of run.json what is no time and no command."""
    files = [run / name for name in ("metrics.jsonl", "log_ratios.npz", "latest", "config.toml",
                                     "behaviour.safetensors", "trained.safetensors")]  # fmt: skip
    files += [path for path in run.glob("checkpoints/step-*/*") if path.name != "mine.txt"]
    found = {str(path.relative_to(run)): path.read_bytes() for path in files if path.exists()}
    record = json.loads((run / "run.json").read_text())
    found["run.json"] = {name: value for name, value in record.items() if name not in ("started", "seconds", "command")}
    found["run.json"].pop("run")
    found["config.toml"] = found["config.toml"].replace(str(run).encode(), b"RUN")
    return found


def wrong_before_resuming(run, mine):
    """What must hold at every instant."""
    from gipo_cli import checkpoint_files

    found = [f"{path.name} is not whole" for path in checkpoint_files.checkpoints_in(run)
             if not checkpoint_files.is_whole(path)]  # fmt: skip
    return found + [f"the user's {name} is lost" for name in mine if not _is_mine(run, name)]


def _is_mine(run, name):
    return (run / name).is_file() and (run / name).read_text() == f"mine: {name}"


def leftovers(run):
    return [str(path.relative_to(run)) for path in run.rglob(".*") if path.name != ".tmp-mine"]


def wrong_after(run, expected):
    """What a run that has ended must be."""
    found = content(run)
    differing = sorted(name for name in {*expected, *found} if found.get(name) != expected.get(name))
    return [f"{name} differs" for name in differing] + [f"{name} is left over" for name in leftovers(run)]


def try_fault(fault, log, expected, points, place, broken=""):
    """Do it, look, resume, compare.

    Returns:
        What is wrong, a line each.
    """
    from gipo_cli.runs import RunDirectory

    run = place / "run"
    code, said = train(run, log, fault, broken)
    mine = [name for name in MINE if (run / name).exists()]
    wrong = wrong_before_resuming(run, mine)
    if fault.kind in KILLS:
        wrong += [] if code == -signal.SIGKILL else [f"it left with {code}, not by the kill:\n{said}"]
    elif fault.kind == "short write":
        wrong += [] if code == 0 else [f"it left with {code}:\n{said}"]
    else:
        wrong += _wrong_answer(run, fault, code, said)
    if fault.kind == "kill twice":
        train(run, log, Fault("kill before", random.Random(fault.at).randrange(1, points)), broken)
        wrong += wrong_before_resuming(run, mine)
    if code == 0:
        with RunDirectory.open(run):
            pass  # what could not be removed goes with the next process
    else:
        code, said = train(run, log, broken=broken)
        if code != 0:
            return [*wrong, f"resuming left with {code}:\n{said}"]
    return wrong + wrong_before_resuming(run, mine) + wrong_after(run, expected)


def _wrong_answer(run, fault, code, said):
    """An error of the operating system is said in one plain error, or did not matter."""
    reason = os.strerror(ERRORS[fault.kind])
    if code == 0:
        return []
    if "Traceback" in said or code not in (2, 3) or reason not in said:
        return [f"it left with {code}:\n{said}"]
    if (run / "run.json").exists():
        told = f"then continue with: gipo train --resume {run}" in said
        wrong = [] if told else [f"it does not say how to go on:\n{said}"]
        record = json.loads((run / "run.json").read_text())
        status, at_lock = record.get("status"), "command" not in record
        if fault.kind != "no space" and status != "failed" and not at_lock:
            wrong.append(f"its record says {status}")
        return wrong
    return []


def try_cut(state, log, expected, place):
    """Make that state, resume, compare."""
    from gipo_cli.runs import RunDirectory

    run = place / "run"
    run.mkdir(exist_ok=True)
    for name, bytes_ in sorted(state.items()):
        if bytes_ is None:
            (run / name).mkdir(parents=True, exist_ok=True)
        else:
            (run / name).write_bytes(bytes_)
    wrong = wrong_before_resuming(run, [])
    code, said = train(run, log)
    if code != 0:
        return [*wrong, f"resuming left with {code}:\n{said}"]
    with RunDirectory.open(run):
        pass  # one that had ended is answered for without a look at what lies beside it
    return wrong + wrong_after(run, expected)


def sweep(log, chosen=None, broken="", say=print, enough=None):
    """Every fault at every point and every power cut, or those of them that `chosen` picks.

    Args:
        log: to train on.
        chosen: takes a list of trials and returns some.
        broken: the guarantee that is taken away.
        say: what is called with each failure.
        enough: failures after which there are no more trials; all of them where it is none.

    Returns:
        Counts of points, trials and failures.
    """
    resident()
    with tempfile.TemporaryDirectory() as held:
        held = Path(held).resolve()
        points = points_of(held, log, broken)
        run = held / "run"
        expected = content(run)
        trials = [
            (n, kind, None) for n, point in enumerate(points, 1) for kind in KINDS
            if point[0] == "write" or kind not in OF_WRITES
        ]  # fmt: skip
        trials += [(n, cut, state) for n, cut, state in power_cuts(points, run)]
        trials = chosen(trials) if chosen else trials
        shutil.rmtree(run)
        failures, tried = 0, []
        for n, kind, state in trials:
            wrong = (
                try_fault(Fault(kind, n), log, expected, len(points), held, broken)
                if state is None
                else try_cut(state, log, expected, held)
            )
            tried.append(state is None)
            failures += bool(wrong)
            for line in wrong:
                say(f"point {n}, {' '.join(map(str, points[n - 1][:2]))}, {kind}: {line}")
            shutil.rmtree(run)
            if failures == enough:
                break
    return {"points": len(points), "faults": sum(tried), "power_cuts": len(tried) - sum(tried), "failures": failures}


def missed(log):
    """The guarantees, taken away one by one, whose lack no trial of its kind notices."""

    def unheard(line):
        pass

    def of_kind(trials):
        return random.Random(0).sample(
            found := [trial for trial in trials if trial[1] == MISSED_BY[broken]], len(found)
        )

    lacking = []
    for broken in MISSED_BY:
        if not sweep(log, of_kind, broken, unheard, enough=1)["failures"]:
            lacking.append(broken)
    return lacking


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log", required=True, type=Path)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--sample", type=int, default=40, help="so many trials, drawn at random")
    parser.add_argument("--part", default="1/1", help="as 1/2: every second trial, from the first")
    parser.add_argument("--count", type=Path, metavar="RUN")
    parser.add_argument("--broken", action="store_true")
    given = parser.parse_args()
    log = given.log.resolve()
    if given.count:
        resident()
        given.count.mkdir(parents=True)
        points = points_of(given.count.resolve(), log)
        print(json.dumps(Counter(name for name, *_ in points), indent=1, sort_keys=True))
        return
    if given.broken:
        lacking = missed(log)
        print(json.dumps({"broken": len(MISSED_BY), "unnoticed": lacking}))
        sys.exit(bool(lacking))
    part, parts = map(int, given.part.split("/"))

    def chosen(trials):
        trials = trials if given.all else random.Random(0).sample(trials, given.sample)
        return trials[part - 1 :: parts]

    found = sweep(log, chosen)
    print(json.dumps(found))
    sys.exit(bool(found["failures"]))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    main()
